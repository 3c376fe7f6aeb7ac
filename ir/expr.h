#pragma once

// Building graph as mathematics: an Expr is a value of a graph, functions on it append nodes.

#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "ir/convolution.h"
#include "ir/graph.h"
#include "ir/order.h"

namespace gradus::ir {

struct Expr {
  Graph* graph = nullptr;
  Value value;

  [[nodiscard]] const TensorType& type() const { return graph->type(value); }
  [[nodiscard]] const Shape& shape() const { return type().shape; }
  [[nodiscard]] std::int64_t rank() const { return type().rank(); }
  [[nodiscard]] ElementType element() const { return type().element; }
};

/// Appends op `name`; the general form of every function below. Throws TypeError.
Expr apply(std::string_view name, std::span<const Expr> operands, Attributes attributes = {});
inline Expr apply(std::string_view name, std::initializer_list<Expr> operands,
                  Attributes attributes = {}) {
  return apply(name, std::span<const Expr>(operands.begin(), operands.size()),
               std::move(attributes));
}

/// The constant `value` of rank 0, converted to `element`.
Expr constant(Graph& graph, ElementType element, double value);
Expr constant(Graph& graph, Tensor value);
/// Every element equal to `value`.
Expr full(Graph& graph, TensorType type, double value);
Expr full_like(Expr x, double value);

// Elementwise on operands of one type. An operand of rank 0 is broadcast to the other's shape.
Expr operator+(Expr a, Expr b);
Expr operator-(Expr a, Expr b);
Expr operator*(Expr a, Expr b);
Expr operator/(Expr a, Expr b);
Expr operator-(Expr a);
// A number is a constant of the other operand's element type.
Expr operator+(Expr a, double b);
Expr operator-(Expr a, double b);
Expr operator*(Expr a, double b);
Expr operator/(Expr a, double b);
Expr operator+(double a, Expr b);
Expr operator-(double a, Expr b);
Expr operator*(double a, Expr b);
Expr operator/(double a, Expr b);

/// Any unary or binary elementwise op by name, with rank-0 broadcasting: map("tanh", x).
Expr map(std::string_view name, Expr x);
Expr map(std::string_view name, Expr a, Expr b);
Expr select(Expr condition, Expr if_true, Expr if_false);
Expr cast(Expr x, ElementType element);
Expr stop_gradient(Expr x);

/// Result axis axes[i] is x's axis i; all other result axes repeat x. Ascending axes.
Expr broadcast(Expr x, Shape shape, Integers axes);
/// Rank 0 to any shape; equal shapes unchanged. Throws TypeError otherwise.
Expr broadcast_scalar(Expr x, const Shape& shape);
Expr reshape(Expr x, Shape shape);
/// Result axis i is x's axis permutation[i]; x itself where that changes nothing.
Expr transpose(Expr x, Integers permutation);
Expr slice(Expr x, Integers start, Integers limit, Integers stride);
/// `interior` elements between neighbours; low and high may be negative (then they crop).
Expr pad(Expr x, Expr value, Integers low, Integers high, Integers interior);
Expr concat(std::span<const Expr> operands, std::int64_t axis);
Expr reverse(Expr x, Integers axes);
/// Sliding windows over `axes` (consecutive, ascending) as new axes behind the last of them:
/// y[..., o, ..., k, ...] = x[..., o * stride + k * dilation, ...].
Expr windows(Expr x, Integers axes, Integers size, Integers stride, Integers dilation);
/// Takes elements from the operands in turn along `axis`.
Expr interleave(std::span<const Expr> operands, std::int64_t axis);

/// Reductions: "sum", "reduce_max", "arg_max", "any", ... over `axes`, which disappear.
Expr reduce(std::string_view name, Expr x, Integers axes);
Expr sum(Expr x, Integers axes);
Expr sum_all(Expr x);
/// sum / count.
Expr mean(Expr x, Integers axes);
/// Undoes the disappearance of `axes`: broadcasts `reduced` back to `shape`.
Expr broadcast_reduced(Expr reduced, const Shape& shape, const Integers& axes);

struct DotAxes {
  Integers lhs_batch, rhs_batch, lhs_contract, rhs_contract;
};
Expr dot(Expr lhs, Expr rhs, DotAxes axes, const PartRule& rule = {});
Expr conv(Expr lhs, Expr rhs, const ConvolutionAxes& axes);
/// Matrix product of rank-2 operands.
Expr matmul(Expr lhs, Expr rhs);

}  // namespace gradus::ir
