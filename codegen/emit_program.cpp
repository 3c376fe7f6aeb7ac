#include "codegen/emit_program.h"

#include <array>
#include <map>
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

bool is_constant(const ScalarInstruction& instruction) {
  return instruction.op == ScalarOp::constant;
}

class Flattener {
 public:
  FlatProgram flat;

  /// Records `program` with `operands` for its operands (empty: they stay operands).
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

  std::int32_t append(ScalarInstruction instruction, std::uint32_t node) {
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

}  // namespace gradus::codegen
