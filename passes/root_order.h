#pragma once

// What must be complete before what.

#include <map>
#include <vector>

#include "ir/graph.h"
#include "passes/roots.h"

namespace gradus::passes {

class RootOrder {
 public:
  /// `in_place`: update value -> state input (passes/in_place.h).
  RootOrder(const ir::Graph& graph, const std::map<ir::NodeId, Root>& roots,
            const std::map<ir::NodeId, ir::NodeId>& in_place);

  /// The roots that must be complete, or have read, before `id` is written; ascending.
  [[nodiscard]] const std::vector<ir::NodeId>& before(ir::NodeId id) const { return before_[id]; }
  /// Position of `id` in an order that keeps to `before`.
  [[nodiscard]] int number(ir::NodeId id) const { return number_[id]; }

 private:
  void number_roots(const std::map<ir::NodeId, Root>& roots);

  std::vector<std::vector<ir::NodeId>> before_;
  std::vector<int> number_;
};

}  // namespace gradus::passes
