#include "passes/stored_values.h"

#include <algorithm>
#include <map>

#include "ir/op.h"

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;

/// Values with fewer elements stay in the caches anyway.
constexpr std::int64_t kLeastElements = 1 << 14;
/// What is one of several operands of a movement, such as a part of a concatenation, is computed
/// for every element of the result: as often as the result is larger. So much of a chain's
/// instructions are worth writing it and reading it instead.
constexpr std::int64_t kLeastChain = 32;
constexpr std::int64_t kLeastRepetition = 2;
/// Tensors of less than this share of a value's elements cost nothing to read.
constexpr std::int64_t kSmallShare = 4;

class Values {
 public:
  Values(const Graph& graph, const FusionPlan& plan, ProgramCosts& costs)
      : graph_(graph), plan_(plan), costs_(costs) {
    for (std::size_t group = 0; group < plan.groups.size(); ++group) {
      for (NodeId root : plan.groups[group].roots) group_of_[root] = group;
    }
    find_users();
  }

  std::set<NodeId> stored() {
    const std::vector<bool> live = graph_.live();
    for (NodeId id = 0; id < graph_.size(); ++id) {
      if (live[id] && (worth_storing(id) || repeated(id))) stored_.insert(id);
    }
    return std::move(stored_);
  }

 private:
  [[nodiscard]] bool in_memory(NodeId id) const {
    return plan_.roots.contains(id) || stored_.contains(id) ||
           access_of(graph_, id) != Access::light;
  }

  /// groups_[id]: the groups that want light value `id` without one in memory between.
  void find_users() {
    for (NodeId id = static_cast<NodeId>(graph_.size()); id-- > 0;) {
      const auto root = group_of_.find(id);
      const std::set<std::size_t> own =
          root != group_of_.end() ? std::set{root->second} : groups_[id];
      for (ir::Value operand : graph_.operands(id)) {
        groups_[operand.node].insert(own.begin(), own.end());
      }
    }
  }

  bool worth_storing(NodeId id) {
    const ir::Node& node = graph_.node(id);
    if (in_memory(id) || !std::holds_alternative<ir::ElementwiseComputation>(node.op->compute) ||
        node.types[0].element_count() < kLeastElements) {
      return false;
    }
    const auto users = static_cast<std::int64_t>(groups_[id].size());
    if (users < 2) return false;
    std::set<NodeId> reads;
    std::set<NodeId> seen;
    collect(id, node.types[0].element_count(), reads, seen);
    const auto tensors = static_cast<std::int64_t>(reads.size());
    return (users - 1) * tensors > users;
  }

  /// Whether a movement of several operands would compute the chain that ends here again and again.
  bool repeated(NodeId id) const {
    const ir::Node& node = graph_.node(id);
    if (in_memory(id) || !std::holds_alternative<ir::ElementwiseComputation>(node.op->compute)) {
      return false;
    }
    const std::int64_t most = node.types[0].element_count() * kLeastRepetition;
    const auto repeats = [&](NodeId user) {
      const ir::Node& movement = graph_.node(user);
      return std::holds_alternative<ir::MovementComputation>(movement.op->compute) &&
             graph_.operands(user).size() > 1 && movement.types[0].element_count() >= most;
    };
    if (node.types[0].rank() == 0 || std::ranges::none_of(graph_.users(id), repeats)) return false;
    return chain_cost(graph_, costs_, {id}, [&](NodeId other) { return in_memory(other); }) >=
           kLeastChain;
  }

  void collect(NodeId id, std::int64_t elements, std::set<NodeId>& reads, std::set<NodeId>& seen) {
    for (ir::Value operand : graph_.operands(id)) {
      if (!seen.insert(operand.node).second) continue;
      if (!in_memory(operand.node)) {
        collect(operand.node, elements, reads, seen);
      } else if (graph_.type(operand).element_count() * kSmallShare >= elements) {
        reads.insert(operand.node);
      }
    }
  }

  const Graph& graph_;
  const FusionPlan& plan_;
  ProgramCosts& costs_;
  std::map<NodeId, std::size_t> group_of_;
  std::map<NodeId, std::set<std::size_t>> groups_;
  std::set<NodeId> stored_;
};

}  // namespace

std::set<NodeId> stored_values(const Graph& graph, const FusionPlan& plan, ProgramCosts& costs) {
  return Values(graph, plan, costs).stored();
}

}  // namespace gradus::passes
