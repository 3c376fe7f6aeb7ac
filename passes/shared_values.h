#pragma once

#include <set>

#include "passes/access.h"
#include "passes/fuse.h"

namespace gradus::passes {

/// The light values of `plan` that several loops of one group compute although keeping them in the
/// group's scratch would cost less than computing them again.
[[nodiscard]] std::set<ir::NodeId> shared_values(const ir::Graph& graph, const FusionPlan& plan,
                                                 ProgramCosts& costs);

}  // namespace gradus::passes
