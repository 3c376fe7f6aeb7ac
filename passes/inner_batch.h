#pragma once

// Contractions whose batch runs inside of tasks: every task then reads the right operand again, and
// keeps a row of every matrix of the left operand and of the result.

#include <cstdint>
#include <map>

#include "ir/graph.h"
#include "passes/fuse.h"

namespace gradus::passes {

/// Whether a task of the group runs several matrices of the batch of its contraction.
[[nodiscard]] bool batch_inside(const ir::Graph& graph, const Group& group, ir::NodeId contraction);

/// In how many tasks such a group is cut, so that the values of a task stay in a cache.
[[nodiscard]] std::int64_t batch_tasks(const ir::Graph& graph, const Group& group,
                                       ir::NodeId contraction);

/// Whether reading the right operand in every task costs more than keeping values in scratch saves.
[[nodiscard]] bool repeats_right_operand(const ir::Graph& graph,
                                         const std::map<ir::NodeId, Root>& roots,
                                         const Group& group, ir::NodeId contraction);

}  // namespace gradus::passes
