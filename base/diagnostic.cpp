#include "base/diagnostic.h"

#include <fmt/format.h>

#include <sstream>

#include "base/check.h"
#include "base/error_codes.h"

namespace gradus {
namespace {

std::string source_line(const std::string& source, std::uint32_t number) {
  std::istringstream lines(source);
  std::string line;
  for (std::uint32_t i = 0; i < number; ++i) {
    if (!std::getline(lines, line)) return {};
  }
  return line;
}

std::string summary(const std::vector<Diagnostic>& diagnostics) {
  std::string text;
  for (const Diagnostic& diagnostic : diagnostics) text += render(diagnostic, {});
  return text;
}

}  // namespace

std::string to_string(const SourceLocation& where) {
  if (where.line == 0) return where.file;
  return fmt::format("{}:{}:{}", where.file, where.line, where.column);
}

std::string to_string(const BlockUses& uses, const std::string& file) {
  std::string text;
  for (const SourceLocation& use : uses) {
    const bool is_near = use.file == file && use.line > 0;
    text += (text.empty() ? "" : ", ") +
            (is_near ? fmt::format("{}:{}", use.line, use.column) : to_string(use));
  }
  return text;
}

std::string to_string(const SourceLocation& where, const BlockUses& uses) {
  if (uses.empty()) return to_string(where);
  return fmt::format("{} (used at {})", to_string(where), to_string(uses, where.file));
}

std::string render(const Diagnostic& diagnostic, const std::string& source) {
  const SourceLocation& where = diagnostic.where;
  std::string text = where.file.empty() ? "" : to_string(where) + ": ";
  text += fmt::format("error[{}]: {}\n", diagnostic.code, diagnostic.message);
  if (where.line > 0 && !source.empty()) {
    text += fmt::format("{:>4} | {}\n", where.line, source_line(source, where.line));
    text += fmt::format("     | {}{}\n", std::string(where.column - 1, ' '),
                        std::string(std::max(where.length, 1u), '^'));
  }
  if (!diagnostic.uses.empty()) {
    text += "  used at " + to_string(diagnostic.uses, where.file);
    const int others = diagnostic.other_uses;
    if (others > 0) text += fmt::format(", and {} other use{}", others, others == 1 ? "" : "s");
    text += '\n';
  }
  if (!diagnostic.hint.empty()) text += fmt::format("  hint: {}\n", diagnostic.hint);
  return text;
}

UserError::UserError(std::vector<Diagnostic> diagnostics)
    : diagnostics_(std::move(diagnostics)), what_(summary(diagnostics_)) {
  GRADUS_CHECK(!diagnostics_.empty(), "an error without a finding");
  for (const Diagnostic& diagnostic : diagnostics_) (void)error_code(diagnostic.code);
}

UserError::UserError(std::string code, std::string message, SourceLocation where, std::string hint)
    : UserError(std::vector<Diagnostic>{
          {std::move(code), std::move(message), std::move(where), std::move(hint)}}) {}

ErrorClass UserError::error_class() const {
  return error_code(diagnostics_.front().code).error_class;
}

}  // namespace gradus
