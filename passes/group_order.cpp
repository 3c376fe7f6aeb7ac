#include "passes/group_order.h"

#include <algorithm>

namespace gradus::passes {

using ir::NodeId;

GroupOrder::GroupOrder(const RootOrder& roots, std::size_t nodes, const std::vector<NodeId>& all)
    : roots_(roots), owner_(nodes), members_(nodes), place_(nodes), at_(all.size()) {
  for (NodeId id : all) {
    owner_[id] = id;
    members_[id] = {id};
    place_[id] = static_cast<std::size_t>(roots.number(id));
    at_[place_[id]] = {id};
  }
}

/// Groups that `group` waits for itself, some perhaps several times.
template <typename Visit>
void GroupOrder::each_before(NodeId group, const Visit& visit) const {
  for (NodeId id : members_[group]) {
    for (NodeId other : roots_.before(id)) {
      if (owner_[other] != group) visit(owner_[other]);
    }
  }
}

bool GroupOrder::far_apart(NodeId a, NodeId b) const {
  const NodeId early = place_[a] < place_[b] ? a : b;
  const NodeId late = early == a ? b : a;
  std::vector<bool> seen(place_[late] - place_[early]);  // by place behind the early one
  std::vector<NodeId> open;
  const auto push = [&](NodeId group) {
    if (place_[group] <= place_[early]) return;  // nothing leads back from there
    const std::size_t number = place_[group] - place_[early];
    if (!seen[number]) open.push_back(group);
    seen[number] = true;
  };
  each_before(late, push);
  bool found = false;
  while (!open.empty() && !found) {
    const NodeId group = open.back();
    open.pop_back();
    each_before(group, [&](NodeId other) {
      found = found || other == early;
      push(other);
    });
  }
  return found;
}

NodeId GroupOrder::merge(NodeId a, NodeId b) {
  const std::size_t first = std::min(place_[a], place_[b]);
  const std::size_t last = std::max(place_[a], place_[b]);
  const NodeId early = place_[a] == first ? a : b;
  const NodeId late = early == a ? b : a;
  // Between the two: what the late one waits for, then the two, then the others.
  std::vector<bool> waited(last - first);
  std::vector<NodeId> open{late};
  while (!open.empty()) {
    const NodeId group = open.back();
    open.pop_back();
    each_before(group, [&](NodeId other) {
      if (place_[other] <= first || waited[place_[other] - first]) return;
      waited[place_[other] - first] = true;
      open.push_back(other);
    });
  }
  std::vector<NodeId> before, after;
  for (std::size_t place = first + 1; place < last; ++place) {
    for (NodeId group : at_[place]) (waited[place - first] ? before : after).push_back(group);
  }
  const NodeId keep = std::min(a, b);
  const NodeId drop = std::max(a, b);
  before.push_back(keep);
  before.insert(before.end(), after.begin(), after.end());
  for (std::size_t i = 0; first + i <= last; ++i) {
    at_[first + i].clear();
    if (i >= before.size()) continue;
    at_[first + i] = {before[i]};
    place_[before[i]] = first + i;
  }
  for (NodeId id : members_[drop]) owner_[id] = keep;
  members_[keep].insert(members_[keep].end(), members_[drop].begin(), members_[drop].end());
  members_[drop].clear();
  return keep;
}

}  // namespace gradus::passes
