#include "codegen/emit_program.h"

#include <array>
#include <map>
#include <optional>
#include <tuple>

#include "base/check.h"
#include "base/float_environment.h"
#include "ir/evaluate_scalar.h"
#include "ir/math.h"

namespace gradus::codegen {
namespace {

using ir::ScalarInstruction;
using ir::ScalarOp;
using ir::ScalarProgram;

constexpr std::uint64_t kRows = kGroupRows;
constexpr std::uint64_t kRowShift = 2;  // 2 to this power is kRows
static_assert(1u << kRowShift == kRows);

bool is_constant(const ScalarInstruction& instruction) {
  return instruction.op == ScalarOp::constant;
}

/// Row `row` of a group of rows along `axis`, whose first position is a multiple of kRows.
struct RowOfGroup {
  int axis = -1;
  std::uint64_t row = 0;
};

// Simplifications of integers only: they are what makes the rows of a group share their work.
//   (a + c) + b = (a + b) + c          a + 0 = a         narrow(a + c) = narrow(a) + narrow(c)
//   (a + c) >> 2 = a >> 2 and (a + c) & 3 = c   where 4 divides a and 0 <= c < 4
class Flattener {
 public:
  FlatProgram flat;
  RowOfGroup row;

  /// Appends operand `number`.
  std::int32_t operand(ElementType type, std::int32_t number) {
    return append(
        {.op = ScalarOp::operand, .type = type, .immediate = static_cast<std::uint64_t>(number)},
        0);
  }

  /// Records `program` with `operands` for its operands (null: they stay operands).
  std::vector<std::int32_t> walk(const ScalarProgram& program,
                                 const std::vector<std::int32_t>* operands,
                                 std::span<const std::uint32_t> fault_nodes) {
    std::vector<std::int32_t> known;
    std::size_t fault = 0;
    for (ScalarInstruction instruction : program.code) {
      std::uint32_t node = 0;
      if (ir::can_fault(program, instruction)) {
        if (fault < fault_nodes.size()) node = fault_nodes[fault];
        ++fault;
      }
      for (std::int32_t& argument : instruction.arguments) {
        if (argument >= 0) argument = known[static_cast<std::size_t>(argument)];
      }
      if (instruction.op == ScalarOp::operand && operands != nullptr) {
        known.push_back((*operands)[instruction.immediate]);
      } else if (instruction.op == ScalarOp::call) {
        known.push_back(call(instruction));
      } else if (instruction.op == ScalarOp::index && is_row_axis(instruction)) {
        const std::int32_t first = append(instruction, 0);
        known.push_back(
            binary(ScalarOp::add, instruction.type, first, constant(instruction.type, row.row)));
      } else {
        known.push_back(append(instruction, node));
      }
    }
    std::vector<std::int32_t> results;
    for (std::int32_t result : program.results) {
      results.push_back(known[static_cast<std::size_t>(result)]);
    }
    return results;
  }

 private:
  using Key =
      std::tuple<ScalarOp, ElementType, std::array<std::int32_t, 3>, std::uint64_t, std::uint32_t>;
  std::map<Key, std::int32_t> known_;

  [[nodiscard]] const ScalarInstruction& at(std::int32_t id) const {
    return flat.code[static_cast<std::size_t>(id)];
  }

  std::int32_t call(const ScalarInstruction& instruction) {
    std::vector<std::int32_t> arguments;
    for (std::int32_t argument : instruction.arguments) {
      if (argument >= 0) arguments.push_back(argument);
    }
    const ir::MathFunction& function = ir::math_functions()[instruction.immediate];
    return walk(function.program, &arguments, {}).at(0);
  }

  [[nodiscard]] bool is_row_axis(const ScalarInstruction& instruction) const {
    return row.axis >= 0 && instruction.immediate == static_cast<std::uint64_t>(row.axis);
  }

  std::int32_t constant(ElementType type, std::uint64_t bits) {
    return append({.op = ScalarOp::constant, .type = type, .immediate = bits}, 0);
  }
  std::int32_t binary(ScalarOp op, ElementType type, std::int32_t x, std::int32_t y) {
    return append({.op = op, .type = type, .arguments = {x, y, -1}}, 0);
  }

  /// x as base + constant; the constant is 0 where x is no such sum.
  struct Offset {
    std::int32_t base = -1;
    std::uint64_t value = 0;
    std::int32_t constant = -1;
  };
  [[nodiscard]] Offset offset_of(std::int32_t x) const {
    const ScalarInstruction& sum = at(x);
    if (sum.op != ScalarOp::add || !is_integer(sum.type) || !is_constant(at(sum.arguments[1]))) {
      return {x, 0, -1};
    }
    return {sum.arguments[0], at(sum.arguments[1]).immediate, sum.arguments[1]};
  }

  /// Whether 4 divides the integer x.
  [[nodiscard]] bool divisible(std::int32_t x) const {
    const ScalarInstruction& i = at(x);
    switch (i.op) {
      case ScalarOp::constant:
        return i.immediate % kRows == 0;
      case ScalarOp::index:
        return is_row_axis(i);
      case ScalarOp::add:
        return divisible(i.arguments[0]) && divisible(i.arguments[1]);
      case ScalarOp::mul:
        return divisible(i.arguments[0]) || divisible(i.arguments[1]);
      case ScalarOp::convert:
        return is_integer(i.type) && is_integer(at(i.arguments[0]).type) &&
               divisible(i.arguments[0]);
      default:
        return false;
    }
  }

  std::optional<std::int32_t> simplify(const ScalarInstruction& i) {
    if (!is_integer(i.type) || i.arguments[0] < 0) return {};
    const std::int32_t x = i.arguments[0];
    const std::int32_t y = i.arguments[1];
    const Offset left = offset_of(x);
    switch (i.op) {
      case ScalarOp::add: {
        if (is_constant(at(x)) && is_constant(at(y))) return {};
        if (is_constant(at(x))) return binary(i.op, i.type, y, x);
        if (is_constant(at(y)) && at(y).immediate == 0) return x;
        if (left.constant >= 0 && is_constant(at(y))) {
          return binary(i.op, i.type, left.base, binary(i.op, i.type, left.constant, y));
        }
        if (left.constant >= 0) {
          return binary(i.op, i.type, binary(i.op, i.type, left.base, y), left.constant);
        }
        const Offset right = offset_of(y);
        if (right.constant < 0) return {};
        return binary(i.op, i.type, binary(i.op, i.type, x, right.base), right.constant);
      }
      case ScalarOp::convert: {
        if (left.constant < 0 || byte_size(i.type) > byte_size(at(x).type)) return {};
        const auto narrow = [&](std::int32_t value) {
          return append({.op = i.op, .type = i.type, .arguments = {value, -1, -1}}, 0);
        };
        const std::int32_t base = narrow(left.base);
        return binary(ScalarOp::add, i.type, base, narrow(left.constant));
      }
      case ScalarOp::shift_right:
        if (left.constant < 0 || left.value >= kRows || !is_constant(at(y))) return {};
        if (at(y).immediate < kRowShift || !divisible(left.base)) return {};
        return binary(i.op, i.type, left.base, y);
      case ScalarOp::bit_and:
        if (!is_constant(at(y)) || at(y).immediate != kRows - 1) return {};
        if (left.value >= kRows || !divisible(left.base)) return {};
        return constant(i.type, left.value);
      default:
        return {};
    }
  }

  std::int32_t append(ScalarInstruction instruction, std::uint32_t node) {
    if (const std::optional<std::int32_t> simpler = simplify(instruction)) return *simpler;
    if (instruction.op == ScalarOp::select && is_constant(at(instruction.arguments[0]))) {
      return instruction.arguments[at(instruction.arguments[0]).immediate != 0 ? 1 : 2];
    }
    if (const std::optional<std::uint64_t> value = fold(instruction)) {
      instruction = {.op = ScalarOp::constant, .type = instruction.type, .immediate = *value};
      node = 0;
    }
    const Key key{instruction.op, instruction.type, instruction.arguments, instruction.immediate,
                  node};
    const auto [entry, added] = known_.emplace(key, static_cast<std::int32_t>(flat.code.size()));
    if (added) {
      flat.code.push_back(instruction);
      flat.nodes.push_back(node);
    }
    return entry->second;
  }

  /// Value of an instruction whose arguments are all constants; empty when it depends on something
  /// or raises a fault.
  [[nodiscard]] std::optional<std::uint64_t> fold(const ScalarInstruction& instruction) const {
    if (instruction.op == ScalarOp::operand || instruction.op == ScalarOp::index) return {};
    if (is_constant(instruction) || instruction.op == ScalarOp::fault) return {};
    ScalarProgram program;
    ScalarInstruction folded = instruction;
    for (std::int32_t& argument : folded.arguments) {
      if (argument < 0) continue;
      if (!is_constant(at(argument))) return {};
      program.code.push_back(at(argument));
      argument = static_cast<std::int32_t>(program.code.size()) - 1;
    }
    program.code.push_back(folded);
    program.results = {static_cast<std::int32_t>(program.code.size()) - 1};
    std::uint64_t result = 0;
    std::uint64_t fault = 0;
    ir::evaluate(program, {}, {}, std::span(&result, 1), &fault);
    if (fault != 0) return {};
    return result;
  }
};

/// Drops what neither a result nor a fault needs.
FlatProgram live_part(const FlatProgram& program) {
  std::vector<bool> live(program.code.size(), false);
  for (std::int32_t result : program.results) live[static_cast<std::size_t>(result)] = true;
  for (std::size_t i = program.code.size(); i-- > 0;) {
    live[i] = live[i] || ir::can_fault(program, program.code[i]);
    if (!live[i]) continue;
    for (std::int32_t argument : program.code[i].arguments) {
      if (argument >= 0) live[static_cast<std::size_t>(argument)] = true;
    }
  }
  FlatProgram result;
  std::vector<std::int32_t> renamed(program.code.size(), -1);
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    if (!live[i]) continue;
    ScalarInstruction instruction = program.code[i];
    for (std::int32_t& argument : instruction.arguments) {
      if (argument >= 0) argument = renamed[static_cast<std::size_t>(argument)];
    }
    renamed[i] = static_cast<std::int32_t>(result.code.size());
    result.code.push_back(instruction);
    result.nodes.push_back(program.nodes[i]);
  }
  for (std::int32_t id : program.results) {
    result.results.push_back(renamed[static_cast<std::size_t>(id)]);
  }
  return result;
}

}  // namespace

FlatProgram flatten(const ScalarProgram& program, std::span<const std::uint32_t> fault_nodes) {
  const FloatEnvironment environment;
  Flattener flattener;
  flattener.flat.results = flattener.walk(program, nullptr, fault_nodes);
  return live_part(flattener.flat);
}

FlatProgram flatten_rows(const ScalarProgram& program, int axis,
                         std::span<const std::vector<std::int32_t>> operands) {
  const FloatEnvironment environment;
  Flattener flattener;
  std::vector<std::int32_t> results;
  for (std::size_t copy = 0; copy < operands.size(); ++copy) {
    flattener.row = {axis, copy};
    std::vector<std::int32_t> own;
    for (std::size_t i = 0; i < program.operand_types.size(); ++i) {
      own.push_back(flattener.operand(program.operand_types[i], operands[copy][i]));
    }
    const std::vector<std::int32_t> part = flattener.walk(program, &own, {});
    results.insert(results.end(), part.begin(), part.end());
  }
  flattener.flat.results = std::move(results);
  return live_part(flattener.flat);
}

}  // namespace gradus::codegen
