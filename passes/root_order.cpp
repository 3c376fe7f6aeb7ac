#include "passes/root_order.h"

#include <algorithm>

#include "base/check.h"
#include "ir/op.h"

namespace gradus::passes {

using ir::NodeId;

RootOrder::RootOrder(const ir::Graph& graph, const std::map<NodeId, Root>& roots,
                     const std::map<NodeId, NodeId>& in_place)
    : before_(graph.size()), number_(graph.size()) {
  std::map<NodeId, NodeId> updates;  // by state
  for (const auto& [update, state] : in_place) updates[state] = update;
  for (const auto& [id, root] : roots) {
    for (const Read& read : root.roots) before_[id].push_back(read.value);
    for (const Read& read : root.leaves) {
      if (std::holds_alternative<ir::ResultComputation>(graph.node(read.value).op->compute)) {
        before_[id].push_back(graph.operands(read.value)[0].node);
      }
      const auto update = updates.find(read.value);
      if (update != updates.end() && update->second != id) before_[update->second].push_back(id);
    }
  }
  for (std::vector<NodeId>& ids : before_) {
    std::ranges::sort(ids);
    ids.erase(std::ranges::unique(ids).begin(), ids.end());
  }
  number_roots(roots);
}

void RootOrder::number_roots(const std::map<NodeId, Root>& roots) {
  std::vector<std::size_t> waiting(before_.size());
  std::vector<std::vector<NodeId>> after(before_.size());
  std::vector<NodeId> ready;
  for (const auto& [id, root] : roots) {
    waiting[id] = before_[id].size();
    for (NodeId other : before_[id]) after[other].push_back(id);
    if (waiting[id] == 0) ready.push_back(id);
  }
  for (std::size_t i = 0; i < ready.size(); ++i) {
    number_[ready[i]] = static_cast<int>(i);
    for (NodeId next : after[ready[i]]) {
      if (--waiting[next] == 0) ready.push_back(next);
    }
  }
  GRADUS_CHECK(ready.size() == roots.size(), "roots wait for each other");
}

}  // namespace gradus::passes
