#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Contractions that make more than they read from short sums, such as the scores of an attention,
/// are made again for those who need them after the first contraction that does: that one may then
/// make its operand itself (passes/fuse.h), and nobody keeps it. The second one is a copy of the
/// node, told apart by its attribute `copy`, with copies of what is light between it and its users.
[[nodiscard]] ir::Graph repeat_contractions(const ir::Graph& graph);

/// Whether making the sums of a contraction again costs no more than keeping them.
[[nodiscard]] bool is_cheap_to_repeat(const ir::Graph& graph, ir::NodeId id);

/// Whether tasks may keep whole matrices, of which the value holds one for each index of its other
/// axes: they are small, and as many as tasks should be.
[[nodiscard]] bool fits_task(const ir::Graph& graph, ir::NodeId matrices);

}  // namespace gradus::passes
