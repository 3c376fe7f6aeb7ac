#include "ir/reverse_mode.h"

#include <algorithm>
#include <limits>
#include <map>

#include "ir/op.h"

namespace gradus::ir {
namespace {

/// needed[id]: the node depends on a wanted value.
std::vector<bool> depends_on(const Graph& graph, std::span<const Expr> wanted, NodeId last) {
  std::vector<bool> needed(std::size_t{last} + 1);
  for (Expr x : wanted) {
    if (x.value.node <= last) needed[x.value.node] = true;
  }
  for (NodeId id = 0; id <= last; ++id) {
    for (Value operand : graph.operands(id)) {
      if (needed[operand.node]) needed[id] = true;
    }
  }
  return needed;
}

constexpr NodeId kSeeded = std::numeric_limits<NodeId>::max();  // after all users

class ReverseMode {
 public:
  ReverseMode(Graph& graph, std::span<const Seed> seeds, std::span<const Expr> wanted)
      : graph_(graph) {
    NodeId last = 0;
    for (const Seed& seed : seeds) {
      parts_[seed.y.value][kSeeded].push_back(seed.dy);
      last = std::max(last, seed.y.value.node);
    }
    needed_ = depends_on(graph, wanted, last);
    for (NodeId id = last + 1; id-- > 0;) visit(id);
  }

  [[nodiscard]] std::optional<Expr> of(Value value) const {
    const auto found = found_.find(value);
    return found == found_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  void visit(NodeId id) {
    const auto begin = parts_.lower_bound({id, 0});
    if (begin == parts_.end() || begin->first.node != id) return;
    const OpRecord& op = *graph_.node(id).op;
    const ProvenanceScope scope(graph_, graph_.node(id).provenance.with_role(Role::backward));
    std::vector<std::optional<Expr>> dys(graph_.node(id).types.size());
    for (auto own = begin; own != parts_.end() && own->first.node == id; ++own) {
      std::optional<Expr>& dy = dys[own->first.result];
      for (const auto& [user, list] : own->second) {
        for (Expr part : list) dy = dy ? *dy + part : part;
      }
      found_[own->first] = *dy;
    }
    std::vector<Expr> x;
    for (Value operand : graph_.operands(id)) x.push_back({&graph_, operand});
    const bool between = std::ranges::any_of(x, [&](Expr e) { return needed_[e.value.node]; });
    if (!op.vjp || !between) return;
    const Attributes attributes = graph_.node(id).attributes;
    const Cotangents found =
        op.vjp({x, {&graph_, {id, 0}}, dys[0].value_or(Expr{}), attributes, dys});
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!found[i] || !needed_[x[i].value.node]) continue;
      GRADUS_CHECK(found[i]->type() == x[i].type(),
                   "the gradient of " + std::string(op.name) + " has another type");
      parts_[x[i].value][id].push_back(*found[i]);
    }
  }

  Graph& graph_;
  std::vector<bool> needed_;
  /// By value, the cotangents by user: ascending users, then operand order.
  std::map<Value, std::map<NodeId, std::vector<Expr>>> parts_;
  std::map<Value, Expr> found_;
};

}  // namespace

std::vector<std::optional<Expr>> cotangents(Graph& graph, std::span<const Seed> seeds,
                                            std::span<const Expr> wanted) {
  const ReverseMode reverse_mode(graph, seeds, wanted);
  std::vector<std::optional<Expr>> result;
  for (Expr x : wanted) result.push_back(reverse_mode.of(x.value));
  return result;
}

}  // namespace gradus::ir
