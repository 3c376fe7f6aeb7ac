#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "ir/graph.h"

namespace gradus::bench {

/// A box of elements: from `start` on, `extent` along every axis.
struct Box {
  std::vector<std::int64_t> start;
  Shape extent;
};

/// A graph with the inputs of `graph` whose result `name` has the elements of `boxes[i]` of result
/// number i, every one computed in the same way: what they do not depend on is left out as far as
/// ops allow. Updates become results named "update NAME".
[[nodiscard]] ir::Graph restrict_results(const ir::Graph& graph, const std::vector<Box>& boxes);

/// The elements of `tensor` in `box`.
[[nodiscard]] Tensor elements_in(const Tensor& tensor, const Box& box);

/// A box of at most 8 x 8 elements of the last two axes, one of each other: as many as a
/// contraction needs to be computed as one (ir/order.h). `where` from 0 (the first elements) to 1
/// (the last ones).
[[nodiscard]] Box box_of(const Shape& shape, double where);

}  // namespace gradus::bench
