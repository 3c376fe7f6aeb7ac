#include "base/text_lines.h"

#include <algorithm>
#include <charconv>

#include "base/diagnostic.h"

namespace gradus {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/// Length of the number at the start of `text`: digits, then .digits and an exponent if they
/// follow.
std::size_t number_length(std::string_view text) {
  const auto digit_at = [&](std::size_t i) { return i < text.size() && is_digit(text[i]); };
  const auto after_digits = [&](std::size_t i) {
    while (digit_at(i)) ++i;
    return i;
  };
  std::size_t end = after_digits(0);
  if (end < text.size() && text[end] == '.' && digit_at(end + 1)) end = after_digits(end + 1);
  if (end < text.size() && text[end] == 'e') {
    const bool sign = end + 1 < text.size() && (text[end + 1] == '-' || text[end + 1] == '+');
    const std::size_t exponent = end + (sign ? 2 : 1);
    if (digit_at(exponent)) end = after_digits(exponent);
  }
  return end;
}

/// Length of the token at the start of `text`: a word, a number, a quoted string or one character.
std::size_t token_length(std::string_view text) {
  std::size_t length = 1;
  if (text[0] == '"') {
    while (length < text.size() && text[length] != '"') length += text[length] == '\\' ? 2 : 1;
    return std::min(length + 1, text.size());
  }
  if (is_digit(text[0])) return number_length(text);
  if (!is_letter(text[0])) return 1;
  while (length < text.size() &&
         (is_digit(text[length]) || is_letter(text[length]) || text[length] == '.')) {
    ++length;
  }
  return length;
}

}  // namespace

std::string quote(std::string_view text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\' || c == '\n') result += '\\';
    result += c == '\n' ? 'n' : c;
  }
  return result + '"';
}

TextLine::TextLine(std::string_view text, const TextSource& source, std::uint32_t number)
    : source_(&source), number_(number) {
  std::size_t at = 0;
  while (at < text.size() && text[at] != '#') {
    if (is_space(text[at])) {
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

bool TextLine::at_word() const { return !at_end() && is_letter(peek()[0]); }
bool TextLine::at_number() const { return !at_end() && is_digit(peek()[0]); }

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

std::string_view TextLine::take() {
  if (at_end()) fail("expected more");
  return tokens_[next_++].text;
}

std::string TextLine::name() {
  if (!at_word() && !at_string()) fail("expected a name");
  return std::string(take());
}

std::string TextLine::quoted() {
  const std::string_view token = peek();
  if (token.size() < 2 || token.front() != '"' || token.back() != '"') {
    fail("expected a string in double quotes");
  }
  std::string text;
  for (std::size_t i = 1; i + 1 < token.size(); ++i) {
    const bool escaped = token[i] == '\\';
    if (escaped && ++i + 1 == token.size()) fail("the string does not end");
    text += escaped && token[i] == 'n' ? '\n' : token[i];
  }
  ++next_;
  return text;
}

std::int64_t TextLine::integer(std::int64_t greatest) {
  std::int64_t value = 0;
  const std::string_view token = peek();
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (!at_number() || error != std::errc{} || end != token.data() + token.size() ||
      value > greatest) {
    fail("expected a number up to " + std::to_string(greatest));
  }
  ++next_;
  return value;
}

std::uint32_t TextLine::column() const {
  return at_end() ? static_cast<std::uint32_t>(content_.size() + 1) : tokens_[next_].column;
}

TensorType TextLine::type() {
  if (!at_word()) fail("expected a type");
  const std::uint32_t start = column();
  std::string text(take());
  expect("[");
  text += '[';
  while (!accept("]")) {
    text += peek();
    if (!accept(",")) (void)integer();
  }
  const std::optional<TensorType> type = parse_tensor_type(text + ']');
  if (!type) fail_at(start, source_->malformed, "'" + text + "]' is no type");
  return *type;
}

void TextLine::fail(const std::string& message) const {
  const std::string found = at_end() ? "the end of the line" : "'" + std::string(peek()) + "'";
  fail_at(column(), source_->malformed, message + ", found " + found);
}

void TextLine::fail_at(std::uint32_t column, const char* code, const std::string& message) const {
  std::size_t length = 1;
  for (const Token& token : tokens_) {
    if (token.column == column) length = token.text.size();
  }
  throw UserError(code, message,
                  {source_->file, number_, column, static_cast<std::uint32_t>(length)});
}

TextLine TextLines::next(std::string_view missing) {
  if (at_end()) {
    throw UserError(source_.malformed, "the text ends before " + std::string(missing),
                    {source_.file, std::max(number_, 1u), 1, 1});
  }
  const std::size_t end = std::min(source_.text.find('\n', at_), source_.text.size());
  TextLine line(source_.text.substr(at_, end - at_), source_, ++number_);
  at_ = end + 1;
  return line;
}

bool TextLines::at_end() {
  skip_blank();
  return at_ >= source_.text.size();
}

void TextLines::skip_blank() {
  while (at_ < source_.text.size()) {
    std::size_t at = at_;
    const std::size_t end = std::min(source_.text.find('\n', at_), source_.text.size());
    while (at < end && is_space(source_.text[at])) ++at;
    if (at < end && source_.text[at] != '#') return;
    at_ = end + 1;
    ++number_;
  }
}

}  // namespace gradus
