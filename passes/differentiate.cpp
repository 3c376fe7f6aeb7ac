#include "passes/differentiate.h"

#include "ir/reverse_mode.h"

namespace gradus::passes {

using ir::Expr;

std::vector<Expr> gradients(Expr loss, std::span<const Expr> with_respect_to) {
  ir::Graph& graph = *loss.graph;
  if (loss.rank() != 0 || !is_float(loss.element())) {
    throw ir::TypeError("a loss is a float scalar, found " + to_string(loss.type()));
  }
  const ir::Seed seed{loss, ir::constant(graph, loss.element(), 1)};
  const std::vector<std::optional<Expr>> found =
      ir::cotangents(graph, std::span(&seed, 1), with_respect_to);
  std::vector<Expr> result;
  for (std::size_t i = 0; i < found.size(); ++i) {
    result.push_back(found[i] ? *found[i] : ir::full_like(with_respect_to[i], 0));
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
