#pragma once

// Reading, adding and sorting by position. Private to the interpreter.

#include "base/tensor.h"
#include "ir/graph.h"
#include "ir/interpret.h"

namespace gradus::ir {

[[nodiscard]] Tensor interpret_gather(const Node& node, const Tensor& x, const Tensor& indices,
                                      Fault& fault);
[[nodiscard]] Tensor interpret_scatter(const Node& node, const Tensor& updates,
                                       const Tensor& indices, Fault& fault);
[[nodiscard]] Tensor interpret_cumulative(const Node& node, const Tensor& x);
[[nodiscard]] Tensor interpret_sort(const Node& node, const Tensor& x);

}  // namespace gradus::ir
