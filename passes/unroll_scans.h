#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Writes out the iterations of scans that stand in the bodies of others, one after another.
[[nodiscard]] ir::Graph unroll_inner_scans(const ir::Graph& graph);

}  // namespace gradus::passes
