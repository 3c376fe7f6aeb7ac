#pragma once

// Scalar programs: what one element of a result is, in terms of one element of each operand.
//
// A program is recorded once (by an op, by a math function, by fusion) and then walked by every
// executor: the interpreter, the kernel interpreter and the LLVM emitter. It is a straight line of
// typed instructions in dependency order; the instruction set below is closed and small, and its
// meaning is the scalar arithmetic of ir/README.md: IEEE-754, round to nearest even, subnormal
// operands and results of arithmetic are zero (sign kept), no contraction.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/element_type.h"

namespace gradus::ir {

enum class ScalarOp : std::uint8_t {
  operand,   // immediate: number of the operand
  constant,  // immediate: the bits of the value
  index,     // immediate: number of the axis; the position along it, as `type` (i32, i64 or u32)
  // Arithmetic: operands and result have `type`. Integers wrap.
  add,
  sub,
  mul,
  div,  // integers: truncates; by zero raises the division fault and gives 0; INT_MIN / -1 wraps
  rem,  // sign of the dividend; floats as C's fmod; integers by zero fault and give 0
  fma,  // a * b + c, rounded once
  neg,  // flips the sign bit of floats; does not flush
  abs,  // clears the sign bit of floats; does not flush
  min,  // NaN wins, -0 < +0
  max,
  sqrt,
  // Comparisons: operands of one type, result bool. Ordered: false when an operand is NaN,
  // but not_equal is true then.
  equal,
  not_equal,
  less,
  less_equal,
  // Bits: integers and bool.
  bit_and,
  bit_or,
  bit_xor,
  shift_left,   // both of `type`; by 0 <= amount < width
  shift_right,  // arithmetic for signed types, logical for unsigned
  mul_high,     // u32: upper half of the 64-bit product
  select,       // operand 0 is bool, operands 1 and 2 and the result have `type`; never flushes
  convert,      // value conversion to `type`: float to integer truncates, saturates, NaN gives 0;
                // integers wrap; to bool is "not zero"; from bool is 0 or 1; f32<->f64 rounds
  bitcast,      // same size
  ldexp,        // operand 0: float of `type`, operand 1: i32; x * 2^n, infinite when too large and
                // zero (sign kept) when below the least normal number
  table,        // operand 0: i32; f32 number `operand modulo 16` of table `immediate`
                // (ir/scalar_tables.h)
  call,         // immediate: number of the math function (ir/math.h)
  fault,        // operand 0: bool; raises `immediate` (a FaultKind) where true; gives operand 0
};

/// Why a step can fail; reported with the node and the element.
enum class FaultKind : std::uint8_t { none, division_by_zero, index_out_of_range };

struct ScalarInstruction {
  ScalarOp op = ScalarOp::constant;
  ElementType type = ElementType::f32;                // of the result
  std::array<std::int32_t, 3> arguments{-1, -1, -1};  // earlier instructions; -1: none
  std::uint64_t immediate = 0;
  friend bool operator==(const ScalarInstruction&, const ScalarInstruction&) = default;
};

/// Name in text and number of arguments (-1 for call: the function's).
struct ScalarOpInfo {
  std::string_view name;
  int arity;
};
[[nodiscard]] const ScalarOpInfo& info(ScalarOp op);

struct ScalarProgram {
  std::vector<ElementType> operand_types;
  std::vector<ScalarInstruction> code;  // arguments refer to earlier entries
  std::vector<std::int32_t> results;    // instruction numbers
  friend bool operator==(const ScalarProgram&, const ScalarProgram&) = default;
};

/// First "operands f32, i64", then one instruction per line, last "return %3". An immediate stands
/// between type and arguments: "%0 = operand f32 0", "%1 = constant f32 1.5" (a value that decimal
/// digits cannot say is hexadecimal bits, 0x7fc00000), "%2 = index i64 1", "%3 = add f32 %0, %1",
/// "%4 = call f32 exp %3", "%5 = table f32 exp_power %4", "%6 = fault bool division_by_zero %5".
[[nodiscard]] std::string to_string(const ScalarProgram& program);

/// Inverse of `to_string`; blank lines and leading spaces are allowed. Throws UserError E2101 that
/// names the line. Instructions keep their numbers: nothing is merged or dropped.
[[nodiscard]] ScalarProgram parse_scalar_program(std::string_view text);

/// Throws InternalError unless the instruction's types, arity and immediate follow the rules above;
/// its arguments have `argument_types`.
void check_instruction(const ScalarInstruction& instruction,
                       std::span<const ElementType> argument_types);

/// Whether an instruction of `program` can raise a fault: every `fault`, and integer division
/// unless the divisor is a constant other than 0.
[[nodiscard]] bool can_fault(const ScalarProgram& program, const ScalarInstruction& instruction);

class ScalarBuilder;

/// A value under construction; arithmetic on it records instructions.
struct Scalar {
  ScalarBuilder* builder = nullptr;
  std::int32_t id = -1;
  [[nodiscard]] ElementType type() const;
};

/// Records a scalar program. Equal instructions are recorded once. Throws InternalError when
/// types do not fit.
class ScalarBuilder {
 public:
  explicit ScalarBuilder(std::vector<ElementType> operand_types);

  Scalar operand(int number);
  /// One more operand, after those there are.
  Scalar add_operand(ElementType type);
  /// `value` converted to `type` (exactly representable for integers).
  Scalar constant(ElementType type, double value);
  Scalar constant_bits(ElementType type, std::uint64_t bits);
  /// Position of the element along result axis `axis`; `type` is i32, i64 or u32.
  Scalar index(int axis, ElementType type);
  Scalar emit(ScalarOp op, ElementType type, std::initializer_list<Scalar> arguments,
              std::uint64_t immediate = 0);
  /// Calls a math function (ir/math.h) of the first argument's type.
  Scalar call(std::string_view function, std::initializer_list<Scalar> arguments);
  /// Records a copy of `program` with `operands[i]` for operand i and `indices[a]` for the index
  /// of axis a (i64 values, converted where the program wants another type); returns its results.
  std::vector<Scalar> inline_program(const ScalarProgram& program, std::span<const Scalar> operands,
                                     std::span<const Scalar> indices);

  [[nodiscard]] const ScalarInstruction& instruction(std::int32_t id) const {
    return program_.code[static_cast<std::size_t>(id)];
  }
  /// Ends the recording: instructions that no result needs are dropped (faults are kept).
  [[nodiscard]] ScalarProgram finish(std::vector<Scalar> results);

 private:
  ScalarProgram program_;
  std::unordered_multimap<std::size_t, std::int32_t> known_;
};

// Convenience on values of one type; a double operand is a constant of the other's type.
Scalar operator+(Scalar a, Scalar b);
Scalar operator-(Scalar a, Scalar b);
Scalar operator*(Scalar a, Scalar b);
Scalar operator/(Scalar a, Scalar b);
Scalar operator+(Scalar a, double b);
Scalar operator-(Scalar a, double b);
Scalar operator*(Scalar a, double b);
Scalar operator/(Scalar a, double b);
Scalar operator+(double a, Scalar b);
Scalar operator-(double a, Scalar b);
Scalar operator*(double a, Scalar b);
Scalar operator/(double a, Scalar b);
Scalar operator-(Scalar a);
Scalar operator&(Scalar a, Scalar b);
Scalar operator|(Scalar a, Scalar b);
Scalar operator^(Scalar a, Scalar b);
Scalar operator<<(Scalar a, int amount);
Scalar operator>>(Scalar a, int amount);
Scalar less(Scalar a, Scalar b);
Scalar less_equal(Scalar a, Scalar b);
Scalar equal(Scalar a, Scalar b);
Scalar not_equal(Scalar a, Scalar b);
Scalar logical_not(Scalar a);
Scalar select(Scalar condition, Scalar if_true, Scalar if_false);
Scalar fma(Scalar a, Scalar b, Scalar c);
Scalar min(Scalar a, Scalar b);
Scalar max(Scalar a, Scalar b);
Scalar abs(Scalar a);
Scalar sqrt(Scalar a);
Scalar ldexp(Scalar a, Scalar exponent);
/// Number `index` modulo 16 of a table (ir/scalar_tables.h).
Scalar table(std::string_view name, Scalar index);
Scalar convert(Scalar a, ElementType type);
Scalar bitcast(Scalar a, ElementType type);

}  // namespace gradus::ir
