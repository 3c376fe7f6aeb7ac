#pragma once

// Which roots form groups, and in what order the groups can run.

#include <vector>

#include "ir/graph.h"
#include "passes/root_order.h"

namespace gradus::passes {

/// Groups are known by their smallest root. At first every root is a group of its own.
class GroupOrder {
 public:
  /// `roots` outlives this.
  GroupOrder(const RootOrder& roots, std::size_t nodes, const std::vector<ir::NodeId>& all);

  [[nodiscard]] ir::NodeId owner(ir::NodeId root) const { return owner_[root]; }
  /// Whether one of the groups waits for the other by way of a third one.
  [[nodiscard]] bool far_apart(ir::NodeId a, ir::NodeId b) const;
  /// Makes one group of two that are not far apart, and returns it.
  ir::NodeId merge(ir::NodeId a, ir::NodeId b);

 private:
  template <typename Visit>
  void each_before(ir::NodeId group, const Visit& visit) const;

  const RootOrder& roots_;
  std::vector<ir::NodeId> owner_;                 // of roots
  std::vector<std::vector<ir::NodeId>> members_;  // of groups
  std::vector<std::size_t> place_;                // of groups, after all that they wait for
  std::vector<std::vector<ir::NodeId>> at_;       // the group of a place, or none
};

}  // namespace gradus::passes
