#pragma once

#include <map>

#include "ir/graph.h"
#include "passes/roots.h"

namespace gradus::passes {

/// The roots that may take the memory of the state that they update: root -> input node. A root may
/// unless it reads the old value elsewhere than at its own element, a reader of the old value needs
/// the new one - or another that is written in the place of what the new one reads -, or the old
/// value is a result.
[[nodiscard]] std::map<ir::NodeId, ir::NodeId> updates_in_place(
    const ir::Graph& graph, const std::map<ir::NodeId, Root>& roots);

}  // namespace gradus::passes
