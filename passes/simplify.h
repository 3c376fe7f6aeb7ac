#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Applies the rules of simplify.cpp until nothing changes. Each is exact: it keeps every bit of
/// every result, NaN, infinities, signed zeros and flushed subnormals included.
[[nodiscard]] ir::Graph simplify(const ir::Graph& graph);

}  // namespace gradus::passes
