#include "passes/in_place.h"

#include <algorithm>
#include <set>

namespace gradus::passes {
namespace {

using ir::NodeId;
using Roots = std::map<NodeId, Root>;

bool depends(const Roots& roots, NodeId reader, NodeId on) {
  std::vector<NodeId> open{reader};
  std::set<NodeId> seen;
  while (!open.empty()) {
    const NodeId id = open.back();
    open.pop_back();
    for (const Read& read : roots.at(id).roots) {
      if (read.value == on) return true;
      if (read.value > on && seen.insert(read.value).second) open.push_back(read.value);
    }
  }
  return false;
}

/// The roots that read each leaf.
using Readers = std::map<NodeId, std::vector<NodeId>>;

Readers readers_of_leaves(const Roots& roots) {
  Readers readers;
  for (const auto& [id, root] : roots) {
    for (const Read& read : root.leaves) readers[read.value].push_back(id);
  }
  return readers;
}

bool can_update(const ir::Graph& graph, const Roots& roots, const std::vector<NodeId>& readers,
                NodeId value, NodeId state) {
  for (const Read& read : roots.at(value).leaves) {
    if (read.value != state) continue;
    if (access_of(graph, value) == Access::heavy || read.through_view) return false;
    for (std::size_t a = 0; a < read.slots.size(); ++a) {
      if (read.slots[a] != static_cast<int>(a) && read.slots[a] != kUnitAxis) return false;
    }
  }
  return std::ranges::none_of(readers,
                              [&](NodeId id) { return id != value && depends(roots, id, value); });
}

}  // namespace

std::map<NodeId, NodeId> updates_in_place(const ir::Graph& graph, const Roots& roots) {
  Readers readers = readers_of_leaves(roots);
  std::set<NodeId> results;
  for (const ir::Result& result : graph.results()) {
    results.insert(memory_of(graph, result.value.node));
  }
  std::map<NodeId, NodeId> updates;
  for (const ir::Result& result : graph.results()) {
    if (!result.update) continue;
    const NodeId value = result.value.node;
    const NodeId state = graph.find_input(result.name)->node;
    if (!roots.contains(value) || updates.contains(value) || results.contains(state)) continue;
    if (can_update(graph, roots, readers[state], value, state)) updates[value] = state;
  }
  return updates;
}

}  // namespace gradus::passes
