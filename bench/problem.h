#pragma once

// Problems to measure: one per line of a text file, as `kind key=value ...`. A value with commas
// stands for a problem each; # begins a comment.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace gradus::bench {

/// What is wrong with a problem.
class ProblemError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// "softmax rows=64 columns=1024 direction=forward".
class Problem {
 public:
  Problem(std::string kind, std::vector<std::pair<std::string, std::string>> settings)
      : kind_(std::move(kind)), settings_(std::move(settings)) {}

  [[nodiscard]] const std::string& kind() const { return kind_; }
  /// The line, with one space between words.
  [[nodiscard]] std::string name() const;
  /// Throws ProblemError when the key is missing or no number of at least 1.
  [[nodiscard]] std::int64_t integer(std::string_view key) const;
  [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t otherwise) const;
  /// Throws ProblemError when the key is missing.
  [[nodiscard]] const std::string& text(std::string_view key) const;
  [[nodiscard]] std::string text(std::string_view key, std::string_view otherwise) const;
  /// The same problem with another number.
  [[nodiscard]] Problem with(std::string_view key, std::int64_t value) const;

 private:
  [[nodiscard]] const std::string* find(std::string_view key) const;

  std::string kind_;
  std::vector<std::pair<std::string, std::string>> settings_;
};

/// Throws ProblemError, naming file and line, where a line is no problem.
[[nodiscard]] std::vector<Problem> parse_problems(std::string_view text, std::string_view file);

/// What limits a problem.
enum class Limit : std::uint8_t { arithmetic, memory };

/// A problem as a graph, with the work that it cannot do without.
struct Workload {
  ir::Graph graph;
  Limit limit = Limit::arithmetic;
  double operations = 0;       // floating-point; of taps outside of an image too
  double bytes = 0;            // read and written, each input and result once
  double elements = 0;         // of the largest result
  bool in_place = false;       // all results are new states
  std::int64_t footprint = 0;  // bytes of different memory among these
  std::string size_key{};      // with limit `memory`: the setting that the work is linear in
};

/// Throws ProblemError when the kind is unknown or a setting is none of its.
[[nodiscard]] Workload workload_of(const Problem& problem);

/// What a problem computes for every element, the terms of its sums too, in one pass: what it needs
/// of a whole row is given, so that nothing waits for a row's end. Its bytes are those of the
/// problem. Only for limit `memory`.
[[nodiscard]] Workload arithmetic_of(const Problem& problem);

}  // namespace gradus::bench
