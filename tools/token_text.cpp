#include "tools/token_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/diagnostic.h"
#include "runtime/data/utf8.h"

namespace gradus::tools {
namespace {

[[noreturn]] void refuse(const std::string& option, const std::string& message) {
  throw UserError("E2006", fmt::format("{} {}", option, message));
}

std::vector<std::int32_t> characters(const std::string& text, const std::string& option,
                                     const std::vector<std::uint32_t>& vocabulary) {
  const runtime::Characters read = runtime::decode_utf8(text);
  if (read.malformed) {
    refuse(option, fmt::format("is no UTF-8 from byte {} on", *read.malformed));
  }
  std::vector<std::int32_t> tokens;
  for (const std::uint32_t character : read.code_points) {
    const auto known = std::ranges::lower_bound(vocabulary, character);
    if (known == vocabulary.end() || *known != character) {
      refuse(option, fmt::format("has '{}', which is none of the model's {} characters",
                                 runtime::encode_utf8(character), vocabulary.size()));
    }
    tokens.push_back(static_cast<std::int32_t>(known - vocabulary.begin()));
  }
  return tokens;
}

std::vector<std::int32_t> numbers(const std::string& text, const std::string& option) {
  std::vector<std::int32_t> tokens;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    while (at != end && *at == ' ') ++at;
    if (at == end) return tokens;
    std::int32_t token = 0;
    const auto [rest, error] = std::from_chars(at, end, token);
    if (error != std::errc() || token < 0 || (rest != end && *rest != ' ')) {
      refuse(option, fmt::format("must be tokens of the model, numbers such as \"3 1 4\", found "
                                 "\"{}\"",
                                 text));
    }
    tokens.push_back(token);
    at = rest;
  }
}

}  // namespace

TokenText::TokenText(const frontend::DataSpec& data, runtime::Vocabulary vocabulary,
                     const std::string& weights)
    : vocabulary_(std::move(vocabulary.characters)) {
  if (data.source != "text") return;
  const std::string& tokens = data.texts.at("tokens");
  if (!vocabulary.tokens.empty() && vocabulary.tokens != tokens) {
    throw UserError("E1005",
                    fmt::format("the weights are for a text in {}, the model is for one in {}",
                                vocabulary.tokens, tokens),
                    {weights}, "\"tokens\" in \"data\" says which");
  }
  form_ = tokens == "bytes" ? Form::bytes : Form::characters;
  if (form_ == Form::characters && vocabulary_.empty()) {
    throw UserError("E1005", "there is no vocabulary in the file: which characters the tokens are",
                    {weights}, "weights and checkpoints that gradus train writes have one");
  }
}

std::vector<std::int32_t> TokenText::tokens(const std::string& text,
                                            const std::string& option) const {
  std::vector<std::int32_t> tokens;
  switch (form_) {
    case Form::characters:
      tokens = characters(text, option, vocabulary_);
      break;
    case Form::bytes:
      for (const char byte : text) tokens.push_back(static_cast<unsigned char>(byte));
      break;
    case Form::numbers:
      tokens = numbers(text, option);
      break;
  }
  if (tokens.empty()) refuse(option, "needs a token, with which the sequence begins");
  return tokens;
}

std::string TokenText::text(const std::vector<std::int32_t>& tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) {
    switch (form_) {
      case Form::characters:
        text += runtime::encode_utf8(vocabulary_.at(static_cast<std::size_t>(token)));
        break;
      case Form::bytes:
        text += static_cast<char>(token);
        break;
      case Form::numbers:
        text += fmt::format("{}{}", text.empty() ? "" : separator(), token);
        break;
    }
  }
  return text;
}

std::int64_t TokenText::count() const {
  switch (form_) {
    case Form::characters:
      return static_cast<std::int64_t>(vocabulary_.size());
    case Form::bytes:
      return 256;
    case Form::numbers:
      break;
  }
  return 0;
}

}  // namespace gradus::tools
