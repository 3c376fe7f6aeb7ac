#include "ir/expr.h"

#include <algorithm>

#include "ir/half_plane.h"
#include "ir/op.h"
#include "ir/scalar_program.h"

namespace gradus::ir {
namespace {

/// Brings a rank-0 operand to the other's shape.
Expr binary(std::string_view name, Expr a, Expr b) {
  if (a.rank() == 0 && b.rank() != 0) a = broadcast_scalar(a, b.shape());
  if (b.rank() == 0 && a.rank() != 0) b = broadcast_scalar(b, a.shape());
  return apply(name, {a, b});
}

Expr number_like(Expr x, double value) { return constant(*x.graph, x.element(), value); }

}  // namespace

Expr apply(std::string_view name, std::span<const Expr> operands, Attributes attributes) {
  GRADUS_CHECK(!operands.empty(), "apply needs an operand to know the graph");
  std::vector<Value> values;
  for (Expr operand : operands) values.push_back(operand.value);
  Graph* graph = operands.front().graph;
  return {graph, {graph->add(op(name), values, std::move(attributes)), 0}};
}

Expr constant(Graph& graph, Tensor value) {
  const NodeId id = graph.add(
      op("constant"), {}, {{"value", TensorPointer(std::make_shared<Tensor>(std::move(value)))}});
  return {&graph, {id, 0}};
}

Expr constant(Graph& graph, ElementType element, double value) {
  return constant(graph, dispatch(element, [&](auto zero) {
                    using T = decltype(zero);
                    return Tensor::scalar(element, static_cast<T>(value));
                  }));
}

Expr full(Graph& graph, TensorType type, double value) {
  return broadcast_scalar(constant(graph, type.element, value), type.shape);
}
Expr full_like(Expr x, double value) { return full(*x.graph, x.type(), value); }

Expr operator+(Expr a, Expr b) { return binary("add", a, b); }
Expr operator-(Expr a, Expr b) { return binary("sub", a, b); }
Expr operator*(Expr a, Expr b) { return binary("mul", a, b); }
Expr operator/(Expr a, Expr b) { return binary("div", a, b); }
Expr operator-(Expr a) { return apply("neg", {a}); }
Expr operator+(Expr a, double b) { return a + number_like(a, b); }
Expr operator-(Expr a, double b) { return a - number_like(a, b); }
Expr operator*(Expr a, double b) { return a * number_like(a, b); }
Expr operator/(Expr a, double b) { return a / number_like(a, b); }
Expr operator+(double a, Expr b) { return number_like(b, a) + b; }
Expr operator-(double a, Expr b) { return number_like(b, a) - b; }
Expr operator*(double a, Expr b) { return number_like(b, a) * b; }
Expr operator/(double a, Expr b) { return number_like(b, a) / b; }

Expr map(std::string_view name, Expr x) { return apply(name, {x}); }
Expr map(std::string_view name, Expr a, Expr b) { return binary(name, a, b); }

Expr select(Expr condition, Expr if_true, Expr if_false) {
  Shape shape = condition.shape();
  if (shape.empty()) shape = if_true.rank() > 0 ? if_true.shape() : if_false.shape();
  return apply("select", {broadcast_scalar(condition, shape), broadcast_scalar(if_true, shape),
                          broadcast_scalar(if_false, shape)});
}

Expr cast(Expr x, ElementType element) {
  return x.element() == element ? x : apply("cast", {x}, {{"element", element}});
}
Expr stop_gradient(Expr x) { return apply("stop_gradient", {x}); }

Expr broadcast(Expr x, Shape shape, Integers axes) {
  return apply("broadcast", {x}, {{"shape", std::move(shape)}, {"axes", std::move(axes)}});
}
Expr broadcast_scalar(Expr x, const Shape& shape) {
  if (x.shape() == shape) return x;
  if (x.rank() != 0) {
    throw TypeError("cannot broadcast " + to_string(x.type()) + " to shape " + to_string(shape));
  }
  return broadcast(x, shape, {});
}
Expr reshape(Expr x, Shape shape) {
  return x.shape() == shape ? x : apply("reshape", {x}, {{"shape", std::move(shape)}});
}
Expr transpose(Expr x, Integers permutation) {
  if (std::ranges::is_sorted(permutation)) return x;
  return apply("transpose", {x}, {{"permutation", std::move(permutation)}});
}
Expr slice(Expr x, Integers start, Integers limit, Integers stride) {
  return apply(
      "slice", {x},
      {{"start", std::move(start)}, {"limit", std::move(limit)}, {"stride", std::move(stride)}});
}
Expr pad(Expr x, Expr value, Integers low, Integers high, Integers interior) {
  return apply(
      "pad", {x, value},
      {{"low", std::move(low)}, {"high", std::move(high)}, {"interior", std::move(interior)}});
}
Expr concat(std::span<const Expr> operands, std::int64_t axis) {
  return apply("concat", operands, {{"axis", axis}});
}
Expr reverse(Expr x, Integers axes) { return apply("reverse", {x}, {{"axes", std::move(axes)}}); }
Expr windows(Expr x, Integers axes, Integers size, Integers stride, Integers dilation) {
  const std::int64_t first = axes.empty() ? 0 : axes.back() + 1;
  const auto count = static_cast<std::int64_t>(axes.size());
  Shape shape = x.shape();
  shape.insert(shape.begin() + first, size.begin(), size.end());
  Integers kept;
  Integers taps;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    kept.push_back(axis < first ? axis : axis + count);
  }
  for (std::int64_t i = 0; i < count; ++i) taps.push_back(first + i);
  return apply("window", {broadcast(x, std::move(shape), std::move(kept))},
               {{"places", std::move(axes)},
                {"taps", std::move(taps)},
                {"stride", std::move(stride)},
                {"dilation", std::move(dilation)}});
}
Expr interleave(std::span<const Expr> operands, std::int64_t axis) {
  return operands.size() == 1 ? operands[0] : apply("interleave", operands, {{"axis", axis}});
}

Expr reduce(std::string_view name, Expr x, Integers axes) {
  std::sort(axes.begin(), axes.end());
  return apply(name, {x}, {{"axes", std::move(axes)}});
}
Expr sum(Expr x, Integers axes) { return reduce("sum", x, std::move(axes)); }
Expr sum_all(Expr x) {
  Integers axes;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) axes.push_back(axis);
  return axes.empty() ? x : sum(x, std::move(axes));
}
Expr mean(Expr x, Integers axes) {
  double count = 1;
  for (std::int64_t axis : axes)
    count *= static_cast<double>(x.shape()[static_cast<std::size_t>(axis)]);
  return sum(x, std::move(axes)) / count;
}
Expr broadcast_reduced(Expr reduced, const Shape& shape, const Integers& axes) {
  Integers kept;
  for (std::int64_t axis = 0; axis < static_cast<std::int64_t>(shape.size()); ++axis) {
    if (std::find(axes.begin(), axes.end(), axis) == axes.end()) kept.push_back(axis);
  }
  return broadcast(reduced, shape, std::move(kept));
}

Expr dot(Expr lhs, Expr rhs, DotAxes axes, const PartRule& rule) {
  return dot(lhs, rhs, std::move(axes), rule, std::nullopt);
}
Expr conv(Expr lhs, Expr rhs, const ConvolutionAxes& axes) {
  return apply("conv", {lhs, rhs}, to_attributes(axes));
}
Expr matmul(Expr lhs, Expr rhs) { return dot(lhs, rhs, {{}, {}, {1}, {0}}); }

}  // namespace gradus::ir
