// The text form of scalar programs; its grammar stands at `to_string` in ir/scalar_program.h.

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/diagnostic.h"
#include "ir/evaluate_scalar.h"
#include "ir/math.h"
#include "ir/scalar_program.h"
#include "ir/scalar_tables.h"

namespace gradus::ir {
namespace {

constexpr std::string_view kFaultNames[] = {"none", "division_by_zero", "index_out_of_range"};

template <typename T>
std::string number_text(T value, int base = 10) {
  char buffer[64];
  std::to_chars_result end{};
  if constexpr (std::is_floating_point_v<T>) {
    end = std::to_chars(buffer, buffer + sizeof buffer, value);
  } else {
    end = std::to_chars(buffer, buffer + sizeof buffer, value, base);
  }
  return {buffer, end.ptr};
}

std::string constant_text(ElementType type, std::uint64_t bits) {
  return dispatch(type, [bits](auto sample) -> std::string {
    using T = decltype(sample);
    const T value = from_word<T>(bits);
    if constexpr (std::is_same_v<T, bool>) {
      return value ? "1" : "0";
    } else if constexpr (std::is_floating_point_v<T>) {
      const bool plain = std::isnormal(value) || bits << (64 - 8 * sizeof(T) + 1) == 0;
      return plain ? number_text(value) : "0x" + number_text(bits, 16);
    } else {
      return number_text(value);
    }
  });
}

std::string immediate_text(const ScalarInstruction& instruction) {
  switch (instruction.op) {
    case ScalarOp::operand:
    case ScalarOp::index:
      return " " + number_text(instruction.immediate);
    case ScalarOp::constant:
      return " " + constant_text(instruction.type, instruction.immediate);
    case ScalarOp::call:
      return " " + std::string(math_functions()[instruction.immediate].name);
    case ScalarOp::table:
      return " " + std::string(scalar_tables()[instruction.immediate].name);
    case ScalarOp::fault:
      return " " + std::string(kFaultNames[instruction.immediate]);
    default:
      return "";
  }
}

/// Reads one program; every failure names the line and column.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  ScalarProgram parse() {
    expect_word("operands");
    while (!at_line_end()) {
      if (!program_.operand_types.empty()) expect(',');
      program_.operand_types.push_back(type());
    }
    while (true) {
      next_line();
      if (peek() != '%') break;
      instruction();
    }
    expect_word("return");
    while (!at_line_end()) {
      if (!program_.results.empty()) expect(',');
      program_.results.push_back(reference());
    }
    next_line();
    if (position_ != text_.size()) fail("text after the return");
    return std::move(program_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    std::uint32_t line = 1;
    std::uint32_t column = 1;
    for (char c : text_.substr(0, position_)) {
      column = c == '\n' ? 1 : column + 1;
      line += c == '\n' ? 1 : 0;
    }
    throw UserError("E2101", message, {"", line, column, 1});
  }

  [[nodiscard]] char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  void skip_spaces() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\r') ++position_;
  }
  bool at_line_end() {
    skip_spaces();
    return position_ == text_.size() || peek() == '\n';
  }
  void next_line() {
    if (!at_line_end()) fail("unexpected text at the end of a line");
    while (position_ < text_.size() && at_line_end()) ++position_;
    skip_spaces();
  }
  void expect(char wanted) {
    skip_spaces();
    if (peek() != wanted) fail(std::string("expected '") + wanted + "'");
    ++position_;
  }
  std::string_view word() {
    skip_spaces();
    const std::size_t begin = position_;
    while (position_ < text_.size() &&
           std::string_view(" \t\r\n,").find(peek()) == std::string_view::npos) {
      ++position_;
    }
    return text_.substr(begin, position_ - begin);
  }
  void expect_word(std::string_view wanted) {
    skip_spaces();
    const std::size_t begin = position_;
    if (word() != wanted) {
      position_ = begin;
      fail("expected '" + std::string(wanted) + "'");
    }
  }

  ElementType type() {
    const std::string_view name = word();
    if (const auto type = parse_element_type(name)) return *type;
    fail("'" + std::string(name) + "' is no element type");
  }
  template <typename T>
  T number(std::string_view digits, int base = 10) {
    T value{};
    const char* end = digits.data() + digits.size();
    std::from_chars_result result{};
    if constexpr (std::is_floating_point_v<T>) {
      result = std::from_chars(digits.data(), end, value);
    } else {
      result = std::from_chars(digits.data(), end, value, base);
    }
    if (result.ec != std::errc{} || result.ptr != end) {
      fail("'" + std::string(digits) + "' is no value of this type");
    }
    return value;
  }
  std::int32_t reference() {
    expect('%');
    const auto id = number<std::int32_t>(word());
    if (id < 0 || static_cast<std::size_t>(id) >= program_.code.size()) {
      fail("%" + number_text(id) + " is not an earlier instruction");
    }
    return id;
  }
  std::uint64_t constant(ElementType type) {
    const std::string_view digits = word();
    if (digits.starts_with("0x")) return number<std::uint64_t>(digits.substr(2), 16);
    return dispatch(type, [&](auto sample) {
      using T = decltype(sample);
      if constexpr (std::is_same_v<T, bool>) {
        return number<std::uint64_t>(digits);
      } else {
        return to_word(number<T>(digits));
      }
    });
  }
  std::uint64_t immediate(ScalarOp op, ElementType type) {
    switch (op) {
      case ScalarOp::operand: {
        const auto value = number<std::uint64_t>(word());
        if (value >= program_.operand_types.size()) fail("no such operand");
        if (program_.operand_types[value] != type) fail("the operand has another type");
        return value;
      }
      case ScalarOp::index: {
        const auto value = number<std::uint64_t>(word());
        if (value > std::numeric_limits<std::int32_t>::max()) fail("no such axis");
        return value;
      }
      case ScalarOp::constant:
        return constant(type);
      case ScalarOp::call: {
        const std::string_view name = word();
        for (std::size_t i = 0; i < math_functions().size(); ++i) {
          if (math_functions()[i].name == name && math_functions()[i].type == type) return i;
        }
        fail("no math function " + std::string(name) + " of this type");
      }
      case ScalarOp::table: {
        const std::string_view name = word();
        for (std::size_t i = 0; i < scalar_tables().size(); ++i) {
          if (scalar_tables()[i].name == name) return i;
        }
        fail("no table " + std::string(name));
      }
      case ScalarOp::fault: {
        const std::string_view name = word();
        for (std::size_t i = 1; i < std::size(kFaultNames); ++i) {
          if (kFaultNames[i] == name) return i;
        }
        fail("no fault kind " + std::string(name));
      }
      default:
        return 0;
    }
  }
  ScalarOp scalar_op() {
    const std::string_view name = word();
    for (int i = 0; i <= static_cast<int>(ScalarOp::fault); ++i) {
      if (info(static_cast<ScalarOp>(i)).name == name) return static_cast<ScalarOp>(i);
    }
    fail("no scalar operation '" + std::string(name) + "'");
  }
  void instruction() {
    expect('%');
    if (number<std::size_t>(word()) != program_.code.size()) {
      fail("instructions are numbered from 0 without gaps");
    }
    expect('=');
    ScalarInstruction instruction;
    instruction.op = scalar_op();
    instruction.type = type();
    instruction.immediate = immediate(instruction.op, instruction.type);
    std::vector<ElementType> types;
    while (!at_line_end()) {
      if (!types.empty()) expect(',');
      if (types.size() == instruction.arguments.size()) fail("too many arguments");
      const std::int32_t argument = reference();
      instruction.arguments[types.size()] = argument;
      types.push_back(program_.code[static_cast<std::size_t>(argument)].type);
    }
    try {
      check_instruction(instruction, types);
    } catch (const InternalError&) {
      fail("operands, type or value do not fit '" + std::string(info(instruction.op).name) + "'");
    }
    program_.code.push_back(instruction);
  }

  std::string_view text_;
  std::size_t position_ = 0;
  ScalarProgram program_;
};

}  // namespace

std::string to_string(const ScalarProgram& program) {
  std::string text = "operands";
  const char* separator = " ";
  for (ElementType type : program.operand_types) {
    text += separator + std::string(to_string(type));
    separator = ", ";
  }
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    const ScalarInstruction& instruction = program.code[i];
    text += "\n%" + number_text(i) + " = " + std::string(info(instruction.op).name) + " " +
            std::string(to_string(instruction.type)) + immediate_text(instruction);
    separator = " %";
    for (std::int32_t argument : instruction.arguments) {
      if (argument < 0) break;
      text += separator + number_text(argument);
      separator = ", %";
    }
  }
  text += "\nreturn";
  separator = " %";
  for (std::int32_t result : program.results) {
    text += separator + number_text(result);
    separator = ", %";
  }
  return text + "\n";
}

ScalarProgram parse_scalar_program(std::string_view text) { return Parser(text).parse(); }

}  // namespace gradus::ir
