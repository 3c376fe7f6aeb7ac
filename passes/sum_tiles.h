#pragma once

// Contractions whose tasks make both operands, some contracted positions at a time, and keep the
// sums of all their results meanwhile.

#include <cstdint>
#include <optional>

#include "ir/graph.h"
#include "passes/fuse.h"

namespace gradus::passes {

/// Whether the group makes operand `side` of its contraction.
[[nodiscard]] bool makes_operand(const ir::Graph& graph, const Group& group, ir::NodeId contraction,
                                 std::size_t side);

/// So many positions of a group axis are contracted at a time, behind single positions of the
/// contracted axes before it.
struct SumTiles {
  int axis = 0;
  std::int64_t size = 1;
};
/// How a group that makes both operands of its contraction runs it; empty where it does not, or
/// where a task's sums and operands would not stay in a cache.
[[nodiscard]] std::optional<SumTiles> sum_tiles(const ir::Graph& graph, const Group& group,
                                                ir::NodeId contraction);

}  // namespace gradus::passes
