#pragma once

// Roots whose points run in an order of their own: scatter_add and cumulative sums. They have a
// kernel for themselves, whose memory holds the sums under way.

#include <vector>

#include "codegen/body.h"
#include "codegen/group_buffers.h"
#include "codegen/group_loops.h"

namespace gradus::codegen {

/// The loops of root `id`, which is the only one of its group.
[[nodiscard]] std::vector<Loop> ordered_loops(const ir::Graph& graph, ir::NodeId id,
                                              GroupLoops& loops, GroupBuffers& buffers,
                                              Kernel& kernel, const BodySource& source);

}  // namespace gradus::codegen
