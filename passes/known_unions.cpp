#include "passes/known_unions.h"

namespace gradus::passes {

using ir::NodeId;

void KnownUnions::begin(std::size_t nodes, const FusionPlan& before,
                        const std::map<NodeId, Root>& roots,
                        const std::map<NodeId, NodeId>& in_place) {
  versions_.resize(nodes);
  const bool same_updates = before.in_place == in_place;
  if (!same_updates) unions_.clear();
  for (const auto& [id, root] : roots) {
    const auto earlier = before.roots.find(id);
    const bool same = same_updates && earlier != before.roots.end() && earlier->second == root;
    if (!same) versions_[id] = ++newest_;
  }
}

}  // namespace gradus::passes
