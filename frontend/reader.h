#pragma once

// Checked access to a model's JSON: every key is asked for, what nobody asked for is an error.

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "frontend/json.h"
#include "frontend/options.h"

namespace gradus::frontend {

/// The candidate nearest to `word` by edit distance, if it is near enough to be meant; else empty.
[[nodiscard]] std::string closest(std::string_view word, std::span<const std::string> candidates);

/// "did you mean "relu"?", or the candidates when none is near and they are few, or nothing.
[[nodiscard]] std::string suggestion(std::string_view word,
                                     std::span<const std::string> candidates);

/// The field `name` of every record.
template <typename Records>
[[nodiscard]] std::vector<std::string> names_of(const Records& records) {
  std::vector<std::string> names;
  for (const auto& record : records) names.emplace_back(record.name);
  return names;
}

/// Findings of one run, reported together.
class Findings {
 public:
  void add(std::string code, std::string message, SourceLocation where, std::string hint = {});
  [[nodiscard]] bool empty() const { return list_.empty(); }
  /// What is added from now on was found in these uses of blocks. Returns those before.
  BlockUses use(BlockUses uses) { return std::exchange(uses_, std::move(uses)); }
  /// Throws UserError with all findings, by place, if there are any; of those that several uses of
  /// a block share only the first.
  void raise();

 private:
  std::vector<Diagnostic> list_;
  BlockUses uses_;
};

/// What is found while it lives is found in these uses of blocks.
class BlockScope {
 public:
  BlockScope(Findings& findings, const BlockUses& uses)
      : findings_(findings), saved_(findings.use(uses)) {}
  ~BlockScope() { findings_.use(std::move(saved_)); }
  BlockScope(const BlockScope&) = delete;
  BlockScope& operator=(const BlockScope&) = delete;

 private:
  Findings& findings_;
  BlockUses saved_;
};

/// A name that stands for an input or a layer, and where it stands.
struct Reference {
  std::string name;
  SourceLocation where;
};

/// Reads one object. Values of the wrong type or range are reported and replaced by the default;
/// `finish` reports keys that nobody read ("comment" is always allowed).
class ObjectReader {
 public:
  /// `json` null stands for an empty object. `what` names it in messages: "dense", "training".
  ObjectReader(const Json* json, std::string what, Findings& findings);

  /// The value as it is; null when absent. Counts as read.
  const Json* raw(std::string_view key);
  [[nodiscard]] bool has(std::string_view key) const { return json_ && json_->find(key); }
  /// As raw; absent is E0202.
  const Json* required(std::string_view key);
  /// Empty when absent or wrong, both of which are reported.
  std::string required_text(std::string_view key);
  /// An optional text.
  std::string text(std::string_view key, std::string fallback);
  double number(std::string_view key, double fallback, Range range);
  /// One name or a list of names.
  std::vector<Reference> references(std::string_view key);

  /// Every option of `options`, by its record.
  Settings settings(std::span<const Option> options);
  /// The alternative that the text under `key` names, with its options, which stand beside it in
  /// the same object. Unknown names are E0205 and ask for `kind` ("optimizer"); the result then has
  /// no name, and other keys count as read, since nobody knows which are right.
  Choice alternative(const std::string& key, std::string_view kind,
                     std::span<const Alternative> alternatives);
  /// Ends the check without asking for unknown keys.
  void abandon() { json_ = nullptr; }
  void finish();

  /// The object's place; where messages about what it lacks point.
  [[nodiscard]] const SourceLocation& where() const { return where_; }
  void point_at(SourceLocation where) { where_ = std::move(where); }
  [[nodiscard]] bool is_object() const { return json_ != nullptr; }
  [[nodiscard]] Findings& findings() { return findings_; }

 private:
  OptionValue read(const Option& option, const Json& json);
  OptionValue read_number(const Option& option, const Json& json);
  OptionValue read_integers(const Option& option, const Json& json);
  OptionValue read_tensor(const Option& option, const Json& json);
  OptionValue read_choice(const Option& option, const Json& json);
  void wrong(const Json& json, std::string_view key, std::string_view expected);

  const Json* json_;
  std::string what_;
  Findings& findings_;
  SourceLocation where_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace gradus::frontend
