#pragma once

#include <set>

#include "passes/access.h"
#include "passes/fuse.h"

namespace gradus::passes {

/// Light values that are cheaper to keep in memory than to make again in every group of `plan` that
/// wants them: with L the tensors of their size that they are made of and k the groups, k L reads
/// against L + 1 + (k - 1). Without this a chain of residual additions is added up from its
/// beginning by each of its users. And dear chains that a concatenation or padding would compute
/// for every element of its larger result.
[[nodiscard]] std::set<ir::NodeId> stored_values(const ir::Graph& graph, const FusionPlan& plan,
                                                 ProgramCosts& costs);

}  // namespace gradus::passes
