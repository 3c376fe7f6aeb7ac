#pragma once

// A text form read line by line, each line token by token; the parsers of graphs and of kernels
// share it. A token is a word ([A-Za-z_] and then letters, digits, '_', '.'), a number without sign
// (12, 0.5, 1e-07), a string in double quotes, or one other character; `#` starts a comment.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_type.h"

namespace gradus {

/// `text` in double quotes, as `TextLine::quoted` reads it; a line break becomes \n.
[[nodiscard]] std::string quote(std::string_view text);

/// The text being read: the name of its file and the code of its errors. Not copied.
struct TextSource {
  std::string_view text;
  const std::string& file;
  const char* malformed;  // a code of base/error_codes.h
};

/// The tokens of one line, read from left to right. Refers to the source.
class TextLine {
 public:
  /// Greater numbers than this are errors, so that sums of a few do not overflow.
  static constexpr std::int64_t kGreatestInteger = std::int64_t{1} << 60;

  TextLine(std::string_view text, const TextSource& source, std::uint32_t number);

  [[nodiscard]] std::uint32_t number() const { return number_; }
  /// The line without its comment.
  [[nodiscard]] std::string_view content() const { return content_; }
  /// The next token; empty at the end of the line.
  [[nodiscard]] std::string_view peek() const;
  [[nodiscard]] bool at_end() const { return next_ == tokens_.size(); }
  [[nodiscard]] bool at_word() const;
  [[nodiscard]] bool at_number() const;
  [[nodiscard]] bool at_string() const { return !at_end() && peek()[0] == '"'; }
  /// Takes the next token if it is `wanted`.
  [[nodiscard]] bool accept(std::string_view wanted);
  void expect(std::string_view wanted);
  void expect_end();
  /// Takes the next token, whatever it is; fails at the end of the line.
  std::string_view take();
  /// A word, or a string with its quotes.
  std::string name();
  /// The content of a string.
  std::string quoted();
  /// A number from 0 to `greatest`.
  std::int64_t integer(std::int64_t greatest = kGreatestInteger);
  /// A type such as f32[2,3].
  TensorType type();
  /// Calls `item` for each of a list separated by commas.
  template <typename Function>
  void list(Function&& item) {
    do item();
    while (accept(","));
  }
  /// Fails at the next token.
  [[noreturn]] void fail(const std::string& message) const;
  /// Where the next token stands.
  [[nodiscard]] std::uint32_t column() const;
  /// Throws UserError `code` about the token at `column`.
  [[noreturn]] void fail_at(std::uint32_t column, const char* code,
                            const std::string& message) const;

 private:
  struct Token {
    std::string_view text;
    std::uint32_t column = 1;
  };
  const TextSource* source_;
  std::uint32_t number_;
  std::string_view content_;
  std::vector<Token> tokens_;
  std::size_t next_ = 0;
};

/// The lines of a text that hold anything.
class TextLines {
 public:
  /// Errors are UserError `malformed` with the place.
  TextLines(std::string_view text, const std::string& file, const char* malformed)
      : source_{text, file, malformed} {}
  TextLines(const TextLines&) = delete;
  TextLines& operator=(const TextLines&) = delete;

  /// The next line; fails at the end of the text, which lacks `missing`.
  [[nodiscard]] TextLine next(std::string_view missing);
  /// Only blank lines and comments are left.
  [[nodiscard]] bool at_end();
  [[nodiscard]] const std::string& file() const { return source_.file; }

 private:
  void skip_blank();

  TextSource source_;
  std::size_t at_ = 0;
  std::uint32_t number_ = 0;  // of the line before at_
};

}  // namespace gradus
