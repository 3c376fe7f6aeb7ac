#include "passes/in_place.h"

#include <algorithm>
#include <set>

#include "ir/op.h"

namespace gradus::passes {
namespace {

using ir::NodeId;
using Roots = std::map<NodeId, Root>;

/// What comes before what: a root before those that read it or a result of it, and a reader of a
/// state before the root that takes the state's memory.
class Order {
 public:
  Order(const ir::Graph& graph, const Roots& roots) : after_(graph.size()) {
    for (const auto& [id, root] : roots) {
      for (const Read& read : root.roots) after_[read.value].push_back(id);
      for (const Read& read : root.leaves) {
        if (std::holds_alternative<ir::ResultComputation>(graph.node(read.value).op->compute)) {
          after_[graph.operands(read.value)[0].node].push_back(id);
        }
      }
    }
  }

  void add(NodeId before, NodeId after) {
    after_[before].push_back(after);
    if (after < before) last_back_ = std::max(last_back_, before);
  }

  /// Whether one of `ends` but `id` itself comes after `id`.
  [[nodiscard]] bool leads(NodeId id, const std::vector<NodeId>& ends) const {
    if (ends.empty()) return false;
    // From beyond, there is no way back.
    const NodeId limit = std::max(last_back_, std::ranges::max(ends));
    std::vector<NodeId> open{id};
    std::set<NodeId> seen{id};
    while (!open.empty()) {
      const NodeId at = open.back();
      open.pop_back();
      for (NodeId next : after_[at]) {
        if (next <= limit && seen.insert(next).second) open.push_back(next);
      }
    }
    return std::ranges::any_of(ends, [&](NodeId end) { return end != id && seen.contains(end); });
  }

 private:
  std::vector<std::vector<NodeId>> after_;
  NodeId last_back_ = 0;  // the last that comes before one with a smaller number
};

/// The roots that read each leaf.
using Readers = std::map<NodeId, std::vector<NodeId>>;

Readers readers_of_leaves(const Roots& roots) {
  Readers readers;
  for (const auto& [id, root] : roots) {
    for (const Read& read : root.leaves) readers[read.value].push_back(id);
  }
  return readers;
}

/// Whether `value` reads the state at its own element only, if at all.
bool reads_own_element(const ir::Graph& graph, const Roots& roots, NodeId value, NodeId state) {
  for (const Read& read : roots.at(value).leaves) {
    if (read.value != state) continue;
    if (access_of(graph, value) == Access::heavy || read.through_view) return false;
    for (std::size_t a = 0; a < read.slots.size(); ++a) {
      if (read.slots[a] != static_cast<int>(a) && read.slots[a] != kUnitAxis) return false;
    }
  }
  return true;
}

}  // namespace

std::map<NodeId, NodeId> updates_in_place(const ir::Graph& graph, const Roots& roots) {
  Readers readers = readers_of_leaves(roots);
  Order order(graph, roots);
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
    if (!reads_own_element(graph, roots, value, state) || order.leads(value, readers[state]))
      continue;
    updates[value] = state;
    for (NodeId reader : readers[state]) {
      if (reader != value) order.add(reader, value);
    }
  }
  return updates;
}

}  // namespace gradus::passes
