#pragma once

// Checked access to a model's JSON: every key is asked for, what nobody asked for is an error.

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/json.h"

namespace gradus::frontend {

/// The candidate nearest to `word` by edit distance, if it is near enough to be meant; else empty.
[[nodiscard]] std::string closest(std::string_view word, std::span<const std::string> candidates);

/// Findings of one run, reported together.
class Findings {
 public:
  void add(std::string code, std::string message, SourceLocation where, std::string hint = {});
  [[nodiscard]] bool empty() const { return list_.empty(); }
  /// Throws UserError with all findings, by place, if there are any.
  void raise();

 private:
  std::vector<Diagnostic> list_;
};

struct NumberRange {
  double least = -1e300;
  double greatest = 1e300;
};

/// Reads one object. Values of the wrong type or range are reported and replaced by the default;
/// `finish` reports keys that nobody read ("comment" is always allowed).
class ObjectReader {
 public:
  /// `json` null stands for an empty object. `what` names it in messages: "dense", "training".
  ObjectReader(const Json* json, std::string what, Findings& findings);

  [[nodiscard]] bool has(std::string_view key);
  /// The value as it is; null when absent. Counts as read.
  const Json* raw(std::string_view key);
  /// As raw; absent is E0202.
  const Json* required(std::string_view key);
  std::string text(std::string_view key, std::string fallback);
  std::string required_text(std::string_view key);
  double number(std::string_view key, double fallback, NumberRange range = {});
  std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t least,
                       std::int64_t greatest = std::int64_t{1} << 40);
  bool boolean(std::string_view key, bool fallback);
  std::vector<std::int64_t> integers(std::string_view key);
  /// One name or a list of names.
  std::vector<std::string> names(std::string_view key);
  void finish();

  [[nodiscard]] SourceLocation where() const;
  [[nodiscard]] const std::string& what() const { return what_; }
  [[nodiscard]] Findings& findings() { return findings_; }

 private:
  void wrong(const Json& json, std::string_view key, std::string_view expected);

  const Json* json_;
  std::string what_;
  Findings& findings_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace gradus::frontend
