#include "codegen/text_lines.h"

#include <algorithm>
#include <charconv>

#include "base/diagnostic.h"

namespace gradus::codegen {
namespace {

constexpr const char* kMalformed = "E2102";

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Length of the token at the start of `text`: a word, a number, a quoted string or one character.
std::size_t token_length(std::string_view text) {
  std::size_t length = 1;
  if (text[0] == '"') {
    while (length < text.size() && text[length] != '"') length += text[length] == '\\' ? 2 : 1;
    return std::min(length + 1, text.size());
  }
  if (!is_letter(text[0]) && !is_digit(text[0])) return 1;
  const bool word = is_letter(text[0]);
  while (length < text.size() &&
         (is_digit(text[length]) || (word && (is_letter(text[length]) || text[length] == '.')))) {
    ++length;
  }
  return length;
}

}  // namespace

TextLine::TextLine(std::string_view text, const std::string& file, std::uint32_t number)
    : file_(&file), number_(number) {
  std::size_t at = 0;
  while (at < text.size() && text[at] != '#') {
    if (text[at] == ' ' || text[at] == '\t' || text[at] == '\r') {
      ++at;
      continue;
    }
    const std::size_t length = token_length(text.substr(at));
    tokens_.push_back({text.substr(at, length), static_cast<std::uint32_t>(at + 1)});
    at += length;
  }
  content_ = text.substr(0, at);
}

std::string_view TextLine::peek() const {
  return next_ < tokens_.size() ? tokens_[next_].text : std::string_view{};
}

bool TextLine::at_integer() const { return !at_end() && is_digit(peek()[0]); }

bool TextLine::accept(std::string_view wanted) {
  if (peek() != wanted) return false;
  ++next_;
  return true;
}

void TextLine::expect(std::string_view wanted) {
  if (!accept(wanted)) fail("expected '" + std::string(wanted) + "'");
}

void TextLine::expect_end() {
  if (!at_end()) fail("expected the end of the line");
}

std::string TextLine::name() {
  if (at_end() || !(is_letter(peek()[0]) || peek()[0] == '"')) fail("expected a name");
  return std::string(tokens_[next_++].text);
}

std::string TextLine::quoted() {
  const std::string_view token = peek();
  if (token.size() < 2 || token.front() != '"' || token.back() != '"') {
    fail("expected a string in double quotes");
  }
  std::string text;
  for (std::size_t i = 1; i + 1 < token.size(); ++i) {
    if (token[i] == '\\' && i + 2 < token.size()) ++i;
    text += token[i];
  }
  ++next_;
  return text;
}

std::int64_t TextLine::integer(std::int64_t greatest) {
  std::int64_t value = 0;
  const std::string_view token = peek();
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (!at_integer() || error != std::errc{} || end != token.data() + token.size() ||
      value > greatest) {
    fail("expected a number up to " + std::to_string(greatest));
  }
  ++next_;
  return value;
}

void TextLine::fail(const std::string& message) const {
  const std::string found = at_end() ? "the end of the line" : "'" + std::string(peek()) + "'";
  const std::size_t column = at_end() ? content_.size() + 1 : tokens_[next_].column;
  throw UserError(kMalformed, message + ", found " + found,
                  {*file_, number_, static_cast<std::uint32_t>(column),
                   static_cast<std::uint32_t>(std::max<std::size_t>(peek().size(), 1))});
}

TextLine TextLines::next(std::string_view missing) {
  while (at_ < text_.size()) {
    TextLine line = take();
    if (!line.at_end()) return line;
  }
  throw UserError(kMalformed, "the text ends before " + std::string(missing),
                  {file_, std::max(number_, 1u), 1, 1});
}

bool TextLines::at_end() const {
  TextLines rest = *this;
  while (rest.at_ < rest.text_.size()) {
    if (!rest.take().at_end()) return false;
  }
  return true;
}

TextLine TextLines::take() {
  const std::size_t end = std::min(text_.find('\n', at_), text_.size());
  TextLine line(text_.substr(at_, end - at_), file_, ++number_);
  at_ = end + 1;
  return line;
}

}  // namespace gradus::codegen
