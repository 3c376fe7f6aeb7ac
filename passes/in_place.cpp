#include "passes/in_place.h"

#include <algorithm>
#include <set>

namespace gradus::passes {
namespace {

using ir::NodeId;
using Roots = std::map<NodeId, Root>;

/// Whether one of the readers depends on `value`.
bool any_depends(const Roots& roots, const std::vector<NodeId>& readers, NodeId value) {
  if (std::ranges::all_of(readers, [&](NodeId id) { return id <= value; })) return false;
  std::set<NodeId> dependents{value};
  for (auto root = roots.upper_bound(value); root != roots.end(); ++root) {
    if (std::ranges::any_of(root->second.roots,
                            [&](const Read& read) { return dependents.contains(read.value); })) {
      dependents.insert(root->first);
    }
  }
  return std::ranges::any_of(readers,
                             [&](NodeId id) { return id != value && dependents.contains(id); });
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
  return !any_depends(roots, readers, value);
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
