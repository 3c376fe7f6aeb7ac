// Reverse-mode automatic differentiation. With v' the cotangent of v, that is d loss / d v, the
// chain rule reads  x_i' = sum over users y = f(x_1, ...) of vjp_f,i(x, y, y').
// Only nodes on a path from a wanted value to the loss are visited.

#include "passes/differentiate.h"

#include <algorithm>
#include <map>

#include "ir/op.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Graph;
using ir::NodeId;

/// needed[id]: the node depends on a wanted value.
std::vector<bool> depends_on(const Graph& graph, std::span<const Expr> wanted, NodeId last) {
  std::vector<bool> needed(std::size_t{last} + 1);
  for (Expr x : wanted) {
    if (x.value.node <= last) needed[x.value.node] = true;
  }
  for (NodeId id = 0; id <= last; ++id) {
    for (ir::Value operand : graph.operands(id)) {
      if (needed[operand.node]) needed[id] = true;
    }
  }
  return needed;
}

}  // namespace

std::vector<Expr> gradients(Expr loss, std::span<const Expr> with_respect_to) {
  Graph& graph = *loss.graph;
  if (loss.rank() != 0 || !is_float(loss.element())) {
    throw ir::TypeError("a loss is a float scalar, found " + to_string(loss.type()));
  }
  const NodeId last = loss.value.node;
  const std::vector<bool> needed = depends_on(graph, with_respect_to, last);
  // By node, the cotangents by user: ascending users, then operand order.
  std::map<NodeId, std::map<NodeId, std::vector<Expr>>> parts;
  parts[last][last].push_back(ir::constant(graph, loss.element(), 1));
  std::map<NodeId, Expr> cotangents;
  for (NodeId id = last + 1; id-- > 0;) {
    const auto own = parts.find(id);
    if (own == parts.end()) continue;
    const ir::OpRecord& op = *graph.node(id).op;
    const ir::ProvenanceScope scope(graph, graph.node(id).provenance.with_role(ir::Role::backward));
    std::optional<Expr> dy;
    for (const auto& [user, list] : own->second) {
      for (Expr part : list) dy = dy ? *dy + part : part;
    }
    cotangents[id] = *dy;
    std::vector<Expr> x;
    for (ir::Value operand : graph.operands(id)) x.push_back({&graph, operand});
    const bool between = std::ranges::any_of(x, [&](Expr e) { return needed[e.value.node]; });
    if (!op.vjp || !between) continue;
    const ir::Attributes attributes = graph.node(id).attributes;
    const ir::Cotangents found = op.vjp({x, {&graph, {id, 0}}, *dy, attributes});
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!found[i] || !needed[x[i].value.node]) continue;
      GRADUS_CHECK(found[i]->type() == x[i].type(),
                   "the gradient of " + std::string(op.name) + " has another type");
      parts[x[i].value.node][id].push_back(*found[i]);
    }
  }
  std::vector<Expr> result;
  for (Expr x : with_respect_to) {
    const auto found = cotangents.find(x.value.node);
    result.push_back(found == cotangents.end() ? ir::full_like(x, 0) : found->second);
  }
  return result;
}

std::vector<bool> reach(Expr loss, std::span<const Expr> values) {
  const Graph& graph = *loss.graph;
  std::vector<bool> reached(std::size_t{loss.value.node} + 1);
  reached[loss.value.node] = true;
  for (NodeId id = loss.value.node + 1; id-- > 0;) {
    if (!reached[id] || !graph.node(id).op->vjp) continue;
    for (ir::Value operand : graph.operands(id)) reached[operand.node] = true;
  }
  std::vector<bool> result;
  for (Expr x : values) {
    result.push_back(x.value.node <= loss.value.node && reached[x.value.node]);
  }
  return result;
}

}  // namespace gradus::passes
