#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Scans that carry the same values along, and differ in what they stack only, become one with all
/// of their outputs: what the gradient of a scan needs of it is not computed a second time.
[[nodiscard]] ir::Graph merge_scans(const ir::Graph& graph);

/// Leaves out results of scans that nobody needs, with what only they need of the body and of the
/// operands.
[[nodiscard]] ir::Graph narrow_scans(const ir::Graph& graph);

}  // namespace gradus::passes
