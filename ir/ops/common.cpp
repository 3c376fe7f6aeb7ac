#include <algorithm>

#include "ir/ops/families.h"

namespace gradus::ir {

Shape elementwise_shape(const InferContext& context) {
  Shape shape;
  for (const TensorType& operand : context.operands) {
    if (operand.rank() == 0) continue;
    if (!shape.empty() && shape != operand.shape) {
      throw TypeError("operands of shapes " + to_string(shape) + " and " +
                      to_string(operand.shape) + " do not match");
    }
    shape = operand.shape;
  }
  return shape;
}

std::vector<TensorType> infer_same(const InferContext& context) {
  for (const TensorType& operand : context.operands) {
    if (operand.element != context.operands[0].element) {
      throw TypeError("operands of types " + to_string(context.operands[0]) + " and " +
                      to_string(operand) + " do not match");
    }
  }
  return {{context.operands[0].element, elementwise_shape(context)}};
}

std::vector<TensorType> infer_number(const InferContext& context) {
  if (context.operands[0].element == ElementType::boolean) {
    throw TypeError("needs numbers, found " + to_string(context.operands[0]));
  }
  return infer_same(context);
}

std::vector<TensorType> infer_float(const InferContext& context) {
  if (!is_float(context.operands[0].element)) {
    throw TypeError("needs f32 or f64, found " + to_string(context.operands[0]));
  }
  return infer_same(context);
}

Expr reduce_to(Expr cotangent, Expr x) { return x.rank() == 0 ? sum_all(cotangent) : cotangent; }

Integers behind_stack_axis(Integers axes) {
  for (std::int64_t& axis : axes) ++axis;
  return axes;
}

Shape stack_shape(const StackContext& context) {
  Shape shape = context.result.shape;
  const auto first = std::ranges::find(context.stacked, true);
  shape.insert(shape.begin(),
               context.x[static_cast<std::size_t>(first - context.stacked.begin())].shape()[0]);
  return shape;
}

void check_axes(const Integers& axes, std::int64_t rank) {
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= rank || (i > 0 && axes[i] <= axes[i - 1])) {
      throw TypeError("axes " + to_string(axes) + " must ascend and be less than the rank " +
                      std::to_string(rank));
    }
  }
}

void check_length(const Integers& list, std::int64_t rank, std::string_view name) {
  if (static_cast<std::int64_t>(list.size()) != rank) {
    throw TypeError(std::string(name) + " " + to_string(list) + " needs one entry for each of " +
                    std::to_string(rank) + " axes");
  }
}

AxisMap along(std::int64_t axis, std::int64_t coefficient, std::int64_t offset,
              std::int64_t divisor) {
  return {{{axis, coefficient}}, offset, divisor};
}

}  // namespace gradus::ir
