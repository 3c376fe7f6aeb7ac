#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "frontend/spec.h"
#include "runtime/data/vocabulary.h"

namespace gradus::tools {

/// How the tokens of a model are written: a text in characters, each a number in the vocabulary
/// that came with the weights, or in bytes; or, for all other data, numbers between spaces.
class TokenText {
 public:
  /// Throws UserError E1005 when a text in characters has no vocabulary, or the weights are for
  /// bytes and the model for characters, or the other way round.
  TokenText(const frontend::DataSpec& data, runtime::Vocabulary vocabulary,
            const std::string& weights);

  /// Throws UserError E2006 where `text`, an option's value, has no token or another than these.
  [[nodiscard]] std::vector<std::int32_t> tokens(const std::string& text,
                                                 const std::string& option) const;
  [[nodiscard]] std::string text(const std::vector<std::int32_t>& tokens) const;
  /// What stands between tokens.
  [[nodiscard]] std::string separator() const { return form_ == Form::numbers ? " " : ""; }
  /// How many tokens there are; 0: not known.
  [[nodiscard]] std::int64_t count() const;

 private:
  enum class Form : std::uint8_t { characters, bytes, numbers };
  Form form_ = Form::numbers;
  std::vector<std::uint32_t> vocabulary_;  // of characters
};

}  // namespace gradus::tools
