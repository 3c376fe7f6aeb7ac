#pragma once

// The values of contractions and convolutions. Private to the interpreter.

#include "base/tensor.h"
#include "ir/graph.h"

namespace gradus::ir {

/// One chain of fma per part, or the sum of the products (ir/order.h).
[[nodiscard]] Tensor interpret_dot(const Node& node, const Tensor& lhs, const Tensor& rhs);

/// Tap by tap, as the doc of `conv` says.
[[nodiscard]] Tensor interpret_conv(const Node& node, const Tensor& lhs, const Tensor& rhs);

}  // namespace gradus::ir
