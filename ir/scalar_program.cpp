#include "ir/scalar_program.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/check.h"
#include "base/float_environment.h"
#include "base/hash.h"
#include "ir/evaluate_scalar.h"
#include "ir/math.h"
#include "ir/scalar_tables.h"

namespace gradus::ir {
namespace {

constexpr ScalarOpInfo kInfos[] = {
    {"operand", 0},   {"constant", 0},   {"index", 0},       {"add", 2},      {"sub", 2},
    {"mul", 2},       {"div", 2},        {"rem", 2},         {"fma", 3},      {"neg", 1},
    {"abs", 1},       {"min", 2},        {"max", 2},         {"sqrt", 1},     {"equal", 2},
    {"not_equal", 2}, {"less", 2},       {"less_equal", 2},  {"bit_and", 2},  {"bit_or", 2},
    {"bit_xor", 2},   {"shift_left", 2}, {"shift_right", 2}, {"mul_high", 2}, {"select", 3},
    {"convert", 1},   {"bitcast", 1},    {"ldexp", 2},       {"table", 1},    {"call", -1},
    {"fault", 1},
};
static_assert(std::size(kInfos) == static_cast<std::size_t>(ScalarOp::fault) + 1);

std::size_t hash_instruction(const ScalarInstruction& instruction) {
  std::uint64_t hash = hash_combine(static_cast<std::uint64_t>(instruction.op),
                                    static_cast<std::uint64_t>(instruction.type));
  for (std::int32_t argument : instruction.arguments) {
    hash = hash_combine(hash, static_cast<std::uint64_t>(argument));
  }
  return hash_combine(hash, instruction.immediate);
}

bool fits(std::uint64_t bits, ElementType type) {
  if (type == ElementType::boolean) return bits <= 1;
  return byte_size(type) == 8 || bits >> (8 * byte_size(type)) == 0;
}

bool all_are(std::span<const ElementType> types, ElementType type) {
  return std::ranges::all_of(types, [type](ElementType t) { return t == type; });
}

/// The rule for the types of `op`; `type` is the result's.
bool types_fit(const ScalarInstruction& instruction, std::span<const ElementType> arguments) {
  const ElementType type = instruction.type;
  const bool number = type != ElementType::boolean;
  const bool same = all_are(arguments, type);
  switch (instruction.op) {
    case ScalarOp::operand:
      return true;
    case ScalarOp::constant:
      return fits(instruction.immediate, type);
    case ScalarOp::index:
      return type == ElementType::i32 || type == ElementType::i64 || type == ElementType::u32;
    case ScalarOp::add:
    case ScalarOp::sub:
    case ScalarOp::mul:
    case ScalarOp::div:
    case ScalarOp::rem:
    case ScalarOp::neg:
    case ScalarOp::abs:
    case ScalarOp::min:
    case ScalarOp::max:
      return same && number;
    case ScalarOp::fma:
    case ScalarOp::sqrt:
      return same && is_float(type);
    case ScalarOp::equal:
    case ScalarOp::not_equal:
      return !number && all_are(arguments, arguments[0]);
    case ScalarOp::less:
    case ScalarOp::less_equal:
      return !number && all_are(arguments, arguments[0]) && arguments[0] != ElementType::boolean;
    case ScalarOp::bit_and:
    case ScalarOp::bit_or:
    case ScalarOp::bit_xor:
      return same && !is_float(type);
    case ScalarOp::shift_left:
    case ScalarOp::shift_right:
      return same && is_integer(type);
    case ScalarOp::mul_high:
      return same && type == ElementType::u32;
    case ScalarOp::select:
      return arguments[0] == ElementType::boolean && all_are(arguments.subspan(1), type);
    case ScalarOp::convert:
      return true;
    case ScalarOp::bitcast:
      return number && arguments[0] != ElementType::boolean &&
             byte_size(type) == byte_size(arguments[0]);
    case ScalarOp::ldexp:
      return is_float(type) && arguments[0] == type && arguments[1] == ElementType::i32;
    case ScalarOp::table:
      return type == ElementType::f32 && arguments[0] == ElementType::i32;
    case ScalarOp::call:
      return same && math_functions()[instruction.immediate].type == type;
    case ScalarOp::fault:
      return same && !number;
  }
  return false;
}

/// The builder that both operands belong to.
ScalarBuilder& common_builder(Scalar a, Scalar b) {
  GRADUS_CHECK(a.builder != nullptr && a.builder == b.builder, "scalars of two programs");
  return *a.builder;
}

Scalar binary(ScalarOp op, Scalar a, Scalar b) {
  return common_builder(a, b).emit(op, a.type(), {a, b});
}
Scalar compare(ScalarOp op, Scalar a, Scalar b) {
  return common_builder(a, b).emit(op, ElementType::boolean, {a, b});
}
Scalar unary(ScalarOp op, Scalar a) { return a.builder->emit(op, a.type(), {a}); }
Scalar like(Scalar a, double value) { return a.builder->constant(a.type(), value); }

}  // namespace

const ScalarOpInfo& info(ScalarOp op) { return kInfos[static_cast<std::size_t>(op)]; }

void check_instruction(const ScalarInstruction& instruction,
                       std::span<const ElementType> argument_types) {
  int arity = info(instruction.op).arity;
  if (instruction.op == ScalarOp::call) {
    GRADUS_CHECK(instruction.immediate < math_functions().size(), "no such math function");
    arity = math_functions()[instruction.immediate].arity;
  }
  if (instruction.op == ScalarOp::table) {
    GRADUS_CHECK(instruction.immediate < scalar_tables().size(), "no such table");
  }
  const std::string name(info(instruction.op).name);
  GRADUS_CHECK(argument_types.size() == static_cast<std::size_t>(arity), "arity of " + name);
  GRADUS_CHECK(types_fit(instruction, argument_types),
               "types of " + name + " " + std::string(to_string(instruction.type)));
  if (instruction.op == ScalarOp::fault) {
    const std::uint64_t kind = instruction.immediate & 0xff;  // above it may stand a node
    GRADUS_CHECK(kind >= 1 && kind <= 2, "no such fault kind");
  }
}

bool can_fault(const ScalarProgram& program, const ScalarInstruction& instruction) {
  if (instruction.op == ScalarOp::fault) return true;
  if (instruction.op != ScalarOp::div && instruction.op != ScalarOp::rem) return false;
  if (is_float(instruction.type)) return false;
  const auto& divisor = program.code[static_cast<std::size_t>(instruction.arguments[1])];
  return divisor.op != ScalarOp::constant || divisor.immediate == 0;
}

ElementType Scalar::type() const {
  GRADUS_CHECK(builder != nullptr, "an empty scalar");
  return builder->instruction(id).type;
}

ScalarBuilder::ScalarBuilder(std::vector<ElementType> operand_types) {
  program_.operand_types = std::move(operand_types);
}

Scalar ScalarBuilder::add_operand(ElementType type) {
  program_.operand_types.push_back(type);
  return operand(static_cast<int>(program_.operand_types.size()) - 1);
}

Scalar ScalarBuilder::operand(int number) {
  GRADUS_CHECK(number >= 0 && static_cast<std::size_t>(number) < program_.operand_types.size(),
               "no such operand");
  return emit(ScalarOp::operand, program_.operand_types[static_cast<std::size_t>(number)], {},
              static_cast<std::uint64_t>(number));
}

Scalar ScalarBuilder::constant(ElementType type, double value) {
  const std::uint64_t bits = dispatch(type, [value](auto sample) {
    using T = decltype(sample);
    using Limits = std::numeric_limits<T>;
    if constexpr (std::is_floating_point_v<T>) {
      return to_word(flush_subnormal(static_cast<T>(value)));
    } else {
      GRADUS_CHECK(value >= static_cast<double>(Limits::min()) &&
                       value < static_cast<double>(Limits::max()) + 1 && std::trunc(value) == value,
                   "a constant that its type cannot represent");
      return to_word(static_cast<T>(value));
    }
  });
  return constant_bits(type, bits);
}

Scalar ScalarBuilder::constant_bits(ElementType type, std::uint64_t bits) {
  return emit(ScalarOp::constant, type, {}, bits);
}

Scalar ScalarBuilder::index(int axis, ElementType type) {
  GRADUS_CHECK(axis >= 0, "a negative axis");
  return emit(ScalarOp::index, type, {}, static_cast<std::uint64_t>(axis));
}

Scalar ScalarBuilder::emit(ScalarOp op, ElementType type, std::initializer_list<Scalar> arguments,
                           std::uint64_t immediate) {
  ScalarInstruction instruction{.op = op, .type = type, .immediate = immediate};
  std::array<ElementType, 3> types{};
  GRADUS_CHECK(arguments.size() <= types.size(), "too many arguments");
  std::size_t count = 0;
  for (const Scalar& argument : arguments) {
    GRADUS_CHECK(argument.builder == this, "a scalar of another program");
    types[count] = argument.type();
    instruction.arguments[count++] = argument.id;
  }
  check_instruction(instruction, std::span(types).first(count));
  const std::size_t hash = hash_instruction(instruction);
  const auto [first, last] = known_.equal_range(hash);
  for (auto known = first; known != last; ++known) {
    if (this->instruction(known->second) == instruction) return {this, known->second};
  }
  const auto id = static_cast<std::int32_t>(program_.code.size());
  program_.code.push_back(instruction);
  known_.emplace(hash, id);
  return {this, id};
}

Scalar ScalarBuilder::call(std::string_view function, std::initializer_list<Scalar> arguments) {
  GRADUS_CHECK(arguments.size() > 0, "a call without arguments");
  const ElementType type = arguments.begin()->type();
  return emit(ScalarOp::call, type, arguments, math_function(function, type));
}

std::vector<Scalar> ScalarBuilder::inline_program(const ScalarProgram& program,
                                                  std::span<const Scalar> operands,
                                                  std::span<const Scalar> indices) {
  GRADUS_CHECK(operands.size() == program.operand_types.size(), "operands of an inlined program");
  std::vector<Scalar> values;
  values.reserve(program.code.size());
  const auto value = [&values](std::int32_t id) { return values[static_cast<std::size_t>(id)]; };
  for (const ScalarInstruction& instruction : program.code) {
    const auto& [op, type, arguments, immediate] = instruction;
    if (op == ScalarOp::operand) {
      values.push_back(operands[immediate]);
      GRADUS_CHECK(values.back().type() == type, "operand type of an inlined program");
    } else if (op == ScalarOp::index) {
      GRADUS_CHECK(immediate < indices.size(), "index of an inlined program");
      const Scalar position = indices[immediate];
      values.push_back(position.type() == type ? position : convert(position, type));
    } else if (arguments[2] >= 0) {
      values.push_back(emit(
          op, type, {value(arguments[0]), value(arguments[1]), value(arguments[2])}, immediate));
    } else if (arguments[1] >= 0) {
      values.push_back(emit(op, type, {value(arguments[0]), value(arguments[1])}, immediate));
    } else if (arguments[0] >= 0) {
      values.push_back(emit(op, type, {value(arguments[0])}, immediate));
    } else {
      values.push_back(emit(op, type, {}, immediate));
    }
  }
  std::vector<Scalar> results;
  for (std::int32_t result : program.results) results.push_back(value(result));
  return results;
}

ScalarProgram ScalarBuilder::finish(std::vector<Scalar> results) {
  std::vector<char> live(program_.code.size(), 0);
  const auto at = [](std::int32_t id) { return static_cast<std::size_t>(id); };
  for (const Scalar& result : results) {
    GRADUS_CHECK(result.builder == this, "a result of another program");
    live[at(result.id)] = 1;
  }
  for (std::size_t i = program_.code.size(); i-- > 0;) {
    const ScalarInstruction& instruction = program_.code[i];
    if (can_fault(program_, instruction)) live[i] = 1;
    if (!live[i]) continue;
    for (std::int32_t argument : instruction.arguments) {
      if (argument >= 0) live[at(argument)] = 1;
    }
  }
  ScalarProgram finished{.operand_types = program_.operand_types, .code = {}, .results = {}};
  std::vector<std::int32_t> renumbered(program_.code.size(), -1);
  for (std::size_t i = 0; i < program_.code.size(); ++i) {
    if (!live[i]) continue;
    ScalarInstruction instruction = program_.code[i];
    for (std::int32_t& argument : instruction.arguments) {
      if (argument >= 0) argument = renumbered[at(argument)];
    }
    renumbered[i] = static_cast<std::int32_t>(finished.code.size());
    finished.code.push_back(instruction);
  }
  for (const Scalar& result : results) finished.results.push_back(renumbered[at(result.id)]);
  return finished;
}

Scalar operator+(Scalar a, Scalar b) { return binary(ScalarOp::add, a, b); }
Scalar operator-(Scalar a, Scalar b) { return binary(ScalarOp::sub, a, b); }
Scalar operator*(Scalar a, Scalar b) { return binary(ScalarOp::mul, a, b); }
Scalar operator/(Scalar a, Scalar b) { return binary(ScalarOp::div, a, b); }
Scalar operator+(Scalar a, double b) { return a + like(a, b); }
Scalar operator-(Scalar a, double b) { return a - like(a, b); }
Scalar operator*(Scalar a, double b) { return a * like(a, b); }
Scalar operator/(Scalar a, double b) { return a / like(a, b); }
Scalar operator+(double a, Scalar b) { return like(b, a) + b; }
Scalar operator-(double a, Scalar b) { return like(b, a) - b; }
Scalar operator*(double a, Scalar b) { return like(b, a) * b; }
Scalar operator/(double a, Scalar b) { return like(b, a) / b; }
Scalar operator-(Scalar a) { return unary(ScalarOp::neg, a); }
Scalar operator&(Scalar a, Scalar b) { return binary(ScalarOp::bit_and, a, b); }
Scalar operator|(Scalar a, Scalar b) { return binary(ScalarOp::bit_or, a, b); }
Scalar operator^(Scalar a, Scalar b) { return binary(ScalarOp::bit_xor, a, b); }
Scalar operator<<(Scalar a, int amount) { return binary(ScalarOp::shift_left, a, like(a, amount)); }
Scalar operator>>(Scalar a, int amount) {
  return binary(ScalarOp::shift_right, a, like(a, amount));
}
Scalar less(Scalar a, Scalar b) { return compare(ScalarOp::less, a, b); }
Scalar less_equal(Scalar a, Scalar b) { return compare(ScalarOp::less_equal, a, b); }
Scalar equal(Scalar a, Scalar b) { return compare(ScalarOp::equal, a, b); }
Scalar not_equal(Scalar a, Scalar b) { return compare(ScalarOp::not_equal, a, b); }
Scalar logical_not(Scalar a) { return a ^ a.builder->constant_bits(ElementType::boolean, 1); }
Scalar select(Scalar condition, Scalar if_true, Scalar if_false) {
  return common_builder(condition, if_true)
      .emit(ScalarOp::select, if_true.type(), {condition, if_true, if_false});
}
Scalar fma(Scalar a, Scalar b, Scalar c) {
  return common_builder(a, b).emit(ScalarOp::fma, a.type(), {a, b, c});
}
Scalar min(Scalar a, Scalar b) { return binary(ScalarOp::min, a, b); }
Scalar max(Scalar a, Scalar b) { return binary(ScalarOp::max, a, b); }
Scalar abs(Scalar a) { return unary(ScalarOp::abs, a); }
Scalar sqrt(Scalar a) { return unary(ScalarOp::sqrt, a); }
Scalar ldexp(Scalar a, Scalar exponent) { return binary(ScalarOp::ldexp, a, exponent); }
Scalar table(std::string_view name, Scalar index) {
  return index.builder->emit(ScalarOp::table, ElementType::f32, {index}, scalar_table(name));
}
Scalar convert(Scalar a, ElementType type) { return a.builder->emit(ScalarOp::convert, type, {a}); }
Scalar bitcast(Scalar a, ElementType type) { return a.builder->emit(ScalarOp::bitcast, type, {a}); }

}  // namespace gradus::ir
