#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Convolutions become contractions over windows of the padded lhs (ir/expr.h, windows): one for
/// every phase of the base dilations, interleaved. Groups with one output feature become sums of
/// products. The bits are those of `conv`.
[[nodiscard]] ir::Graph lower_convolutions(const ir::Graph& graph);

}  // namespace gradus::passes
