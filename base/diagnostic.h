#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace gradus {

/// A place in a user's file. Lines and columns count from 1; line 0 means "the file as a whole".
struct SourceLocation {
  std::string file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  std::uint32_t length = 1;  // characters to underline
  friend auto operator<=>(const SourceLocation&, const SourceLocation&) = default;
};

/// "file:line:column", or "file" when there is no line.
[[nodiscard]] std::string to_string(const SourceLocation& where);

/// Where the blocks are used that a place stands in, outermost first; none: it is in no block.
using BlockUses = std::vector<SourceLocation>;
/// "40:7, 18:9"; with their file where it is not `file`.
[[nodiscard]] std::string to_string(const BlockUses& uses, const std::string& file);
/// "file:line:column (used at 40:7, 18:9)".
[[nodiscard]] std::string to_string(const SourceLocation& where, const BlockUses& uses);

/// What kind of failure a user error is; its number is the program's exit code.
enum class ErrorClass : std::uint8_t {
  operation = 1,
  usage = 2,
  model = 3,
  data = 4,
  memory = 5,
  numeric = 6,
  io = 7,
};

/// One finding about what the user gave: says what was expected and what was found.
struct Diagnostic {
  std::string code;  // a code of base/error_codes.h, such as "E0204"
  std::string message;
  SourceLocation where;
  std::string hint;     // how to mend it; may be empty
  BlockUses uses = {};  // of `where`
  int other_uses = 0;   // in which the same was found
};

/// Prints "file:line:col: error[E0204]: message", the source line with a caret, where its block is
/// used, and the hint.
/// `source` is the text of `where.file`, empty when it is not at hand.
[[nodiscard]] std::string render(const Diagnostic& diagnostic, const std::string& source);

/// One or more findings that end the command. The class follows from the first finding's code.
class UserError : public std::exception {
 public:
  explicit UserError(std::vector<Diagnostic> diagnostics);
  UserError(std::string code, std::string message, SourceLocation where = {},
            std::string hint = {});
  [[nodiscard]] const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  [[nodiscard]] ErrorClass error_class() const;
  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::vector<Diagnostic> diagnostics_;
  std::string what_;
};

}  // namespace gradus
