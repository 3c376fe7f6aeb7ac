#pragma once

// A text form read line by line, each line token by token. A token is a word ([A-Za-z_] and then
// letters, digits, '_', '.'), a number, a string in double quotes, or one other character; `#`
// starts a comment. Private to codegen's parsers. Errors are UserError E2102 with the place.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gradus::codegen {

/// The tokens of one line, read from left to right. Refers to the text and to the file's name.
class TextLine {
 public:
  /// Greater numbers than this are errors, so that sums of a few do not overflow.
  static constexpr std::int64_t kGreatestInteger = std::int64_t{1} << 60;

  TextLine(std::string_view text, const std::string& file, std::uint32_t number);

  [[nodiscard]] std::uint32_t number() const { return number_; }
  /// The line without its comment.
  [[nodiscard]] std::string_view content() const { return content_; }
  /// The next token; empty at the end of the line.
  [[nodiscard]] std::string_view peek() const;
  [[nodiscard]] bool at_end() const { return next_ == tokens_.size(); }
  [[nodiscard]] bool at_integer() const;
  /// Takes the next token if it is `wanted`.
  [[nodiscard]] bool accept(std::string_view wanted);
  void expect(std::string_view wanted);
  void expect_end();
  /// A word, or a string with its quotes.
  std::string name();
  /// The content of a string.
  std::string quoted();
  /// A number from 0 to `greatest`.
  std::int64_t integer(std::int64_t greatest = kGreatestInteger);
  /// Calls `item` for each of a list separated by commas.
  template <typename Function>
  void list(Function&& item) {
    do item();
    while (accept(","));
  }
  /// Fails at the next token.
  [[noreturn]] void fail(const std::string& message) const;

 private:
  struct Token {
    std::string_view text;
    std::uint32_t column = 1;
  };
  const std::string* file_;
  std::uint32_t number_;
  std::string_view content_;
  std::vector<Token> tokens_;
  std::size_t next_ = 0;
};

/// The lines of a text that hold anything.
class TextLines {
 public:
  TextLines(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  /// The next line; fails at the end of the text, which lacks `missing`.
  [[nodiscard]] TextLine next(std::string_view missing);
  [[nodiscard]] bool at_end() const;
  [[nodiscard]] const std::string& file() const { return file_; }

 private:
  TextLine take();

  std::string_view text_;
  const std::string& file_;
  std::size_t at_ = 0;
  std::uint32_t number_ = 0;
};

}  // namespace gradus::codegen
