#include "passes/flushed.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/overloaded.h"
#include "ir/evaluate_scalar.h"
#include "ir/math.h"
#include "ir/op.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::ScalarInstruction;
using ir::ScalarOp;
using ir::ScalarProgram;

constexpr int kStepsBack = 6;
constexpr std::size_t kLargestConstant = 4096;  // elements that are looked at

bool is_flushed(Expr x, int steps);

bool no_subnormal(const Tensor& tensor) {
  return dispatch(tensor.type.element, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      const auto elements = tensor.as<T>();
      return elements.size() <= kLargestConstant && std::ranges::none_of(elements, [](T value) {
               return std::fpclassify(value) == FP_SUBNORMAL;
             });
    }
    return true;
  });
}

bool constant_flushed(const ScalarInstruction& constant) {
  return dispatch(constant.type, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      return std::fpclassify(ir::from_word<T>(constant.immediate)) != FP_SUBNORMAL;
    }
    return true;
  });
}

/// Answers for operand i of a program.
using Operand = std::function<bool(std::uint64_t)>;

/// Whether instruction `id` never gives a subnormal float.
bool flushes(const ScalarProgram& program, std::int32_t id, const Operand& operand) {
  const ScalarInstruction& instruction = program.code[static_cast<std::size_t>(id)];
  const auto argument = [&](std::size_t i) {
    return flushes(program, instruction.arguments[i], operand);
  };
  switch (instruction.op) {
    case ScalarOp::operand:
      return operand(instruction.immediate);
    case ScalarOp::constant:
      return constant_flushed(instruction);
    case ScalarOp::add:
    case ScalarOp::sub:
    case ScalarOp::mul:
    case ScalarOp::div:
    case ScalarOp::rem:
    case ScalarOp::fma:
    case ScalarOp::min:
    case ScalarOp::max:
    case ScalarOp::sqrt:
    case ScalarOp::ldexp:
    case ScalarOp::table:
      return true;
    case ScalarOp::convert: {
      const auto from = static_cast<std::size_t>(instruction.arguments[0]);
      return program.code[from].type != instruction.type || argument(0);
    }
    case ScalarOp::neg:
    case ScalarOp::abs:
      return argument(0);
    case ScalarOp::select:
      return argument(1) && argument(2);
    case ScalarOp::call: {
      const ScalarProgram& called = ir::math_functions()[instruction.immediate].program;
      return flushes(called, called.results[0], argument);
    }
    default:
      return false;
  }
}

bool elementwise_flushes(Expr x, const ir::ElementwiseComputation& compute, int steps) {
  const std::vector<ir::Value> operands = x.graph->operands(x.value.node);
  std::vector<TensorType> types;
  for (ir::Value operand : operands) types.push_back(x.graph->type(operand));
  const ir::Node& node = x.graph->node(x.value.node);
  const ScalarProgram program =
      ir::record_elementwise(compute, types, node.types[0], node.attributes);
  return flushes(program, program.results[0],
                 [&](std::uint64_t i) { return is_flushed({x.graph, operands[i]}, steps - 1); });
}

bool operands_flushed(Expr x, int steps) {
  return std::ranges::all_of(x.graph->operands(x.value.node), [&](ir::Value operand) {
    return is_flushed({x.graph, operand}, steps - 1);
  });
}

bool is_flushed(Expr x, int steps) {
  if (!is_float(x.element())) return true;
  if (steps == 0) return false;
  const ir::Node& node = x.graph->node(x.value.node);
  return std::visit(overloaded{
                        [](const ir::InputComputation&) { return false; },
                        [&](const ir::ConstantComputation&) {
                          return no_subnormal(*node.attributes.get<ir::TensorPointer>("value"));
                        },
                        [&](const ir::ElementwiseComputation& compute) {
                          return elementwise_flushes(x, compute, steps);
                        },
                        [&](const ir::MovementComputation&) { return operands_flushed(x, steps); },
                        [&](const ir::ViewComputation&) { return operands_flushed(x, steps); },
                        [](const ir::TileComputation&) { return true; },
                        // Sums start at +0 and extrema compare: both flush even a single element.
                        [](const ir::ReductionComputation&) { return true; },
                        [](const ir::BlockSumComputation&) { return true; },
                        [](const ir::CombineComputation&) { return true; },
                        [](const ir::ContractionComputation&) { return true; },
                        [](const ir::ConvolutionComputation&) { return true; },
                        [&](const ir::GatherComputation&) { return operands_flushed(x, steps); },
                        // Sums from +0.
                        [](const ir::ScatterComputation&) { return true; },
                        [](const ir::CumulativeComputation&) { return true; },
                        [](const ir::SortComputation&) { return true; },
                        [](const ir::ScanComputation&) { return false; },
                        [](const ir::ResultComputation&) { return false; },
                    },
                    node.op->compute);
}

}  // namespace

bool is_flushed(Expr x) { return is_flushed(x, kStepsBack); }

}  // namespace gradus::passes
