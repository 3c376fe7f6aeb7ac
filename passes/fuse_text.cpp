#include <fmt/format.h>

#include "ir/op.h"
#include "passes/copy_scans.h"
#include "passes/fuse.h"

namespace gradus::passes {

using ir::Graph;
using ir::NodeId;

std::string to_string(const FusionPlan& plan, const Graph& graph,
                      const std::function<std::string(NodeId)>& inside) {
  std::string text;
  int number = 0;
  for (const Group& group : plan.groups) {
    text += fmt::format("group {}: roots", number++);
    for (NodeId id : group.roots) text += fmt::format(" %{}:{}", id, graph.node(id).op->name);
    text += "\n  outputs";
    for (NodeId id : group.outputs) text += fmt::format(" %{}", id);
    text += "\n  axes";
    for (std::size_t axis = 0; axis < group.extents.size(); ++axis) {
      text += fmt::format(" {}={}", axis, group.extents[axis]);
    }
    text += "\n  parallel";
    for (const ParallelAxis& axis : group.parallel) {
      text += fmt::format(" {}", axis.axis);
      if (axis.cut) text += fmt::format(" in {} blocks", axis.cut->count);
    }
    text += '\n';
    for (NodeId id : group.roots) {
      if (inside && is_scan(graph, id)) text += inside(id);
    }
  }
  for (const LedgerEntry& entry : plan.ledger) {
    text += fmt::format("%{} -> %{}: {}{}{} ({} bytes)\n", entry.producer, entry.consumer,
                        entry.fused ? "fused" : "through memory",
                        entry.fused || entry.reason.empty() ? "" : ": ",
                        entry.fused ? "" : entry.reason, entry.bytes);
  }
  return text;
}

}  // namespace gradus::passes
