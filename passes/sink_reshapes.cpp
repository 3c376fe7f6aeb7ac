#include "passes/sink_reshapes.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/access.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Graph;
using ir::Integers;
using ir::NodeId;

bool is(const Graph& graph, NodeId id, std::string_view op) {
  return graph.node(id).op == &ir::op(op);
}
bool is_elementwise(const Graph& graph, NodeId id) {
  return std::holds_alternative<ir::ElementwiseComputation>(graph.node(id).op->compute);
}

/// By node: whether it is elementwise, and all who read it, or elementwise values of it, move it.
std::vector<bool> moved_values(const Graph& graph) {
  const std::vector<bool> live = graph.live();
  std::vector<bool> moved(graph.size());
  for (auto id = static_cast<NodeId>(graph.size()); id-- > 0;) {
    moved[id] = live[id] && is_elementwise(graph, id) && graph.node(id).types[0].rank() > 0;
  }
  for (const ir::Result& result : graph.results()) moved[result.value.node] = false;
  for (auto id = static_cast<NodeId>(graph.size()); id-- > 0;) {
    if (!live[id] || moved[id] || is(graph, id, "reshape") || is(graph, id, "transpose")) continue;
    for (ir::Value operand : graph.operands(id)) moved[operand.node] = false;
  }
  return moved;
}

/// The product behind a reshape, or an elementwise value of one, whose axes become whole axes of x.
std::optional<Expr> reshaped_product(Expr x, const std::vector<bool>& sunk) {
  const Graph& graph = *x.graph;
  if (!is(graph, x.value.node, "reshape")) return std::nullopt;
  const ir::Value source = graph.operands(x.value.node)[0];
  const bool known = source.node < sunk.size() && sunk[source.node];
  if (!known && !is_dot(graph, source.node)) return std::nullopt;
  if (!split_map(graph.type(source).shape, x.shape())) return std::nullopt;
  return Expr{x.graph, source};
}

/// What an elementwise value of shape `from` reads, in the shape that the reshape came from; empty
/// where it has no such form.
std::optional<Expr> in_shape(Expr x, const Shape& from, const Shape& shape) {
  const Graph& graph = *x.graph;
  if (x.rank() == 0) return x;
  if (is(graph, x.value.node, "reshape")) {
    const ir::Value source = graph.operands(x.value.node)[0];
    if (graph.type(source).shape == shape) return Expr{x.graph, source};
  }
  if (!is(graph, x.value.node, "broadcast")) return std::nullopt;
  const std::optional<ir::IndexMap> map = split_map(shape, from);
  const Expr repeated{x.graph, graph.operands(x.value.node)[0]};
  Integers axes;
  for (std::int64_t axis : graph.node(x.value.node).attributes.get<Integers>("axes")) {
    const auto whole = std::ranges::find_if(*map, [&](const ir::AxisMap& entry) {
      return entry.terms.size() == 1 && entry.terms[0].axis == axis;
    });
    if (whole == map->end()) return std::nullopt;
    axes.push_back(whole - map->begin());
  }
  return ir::broadcast(repeated, shape, axes);
}

}  // namespace

Graph sink_reshapes(const Graph& graph) {
  const std::vector<bool> moved = moved_values(graph);
  std::vector<bool> sunk;  // nodes of the new graph
  return ir::rewrite(graph, [&](const ir::RewriteContext& c) -> std::optional<Expr> {
    if (!moved[c.id]) return std::nullopt;
    const Shape& from = c.node.types[0].shape;
    std::optional<Expr> product;
    for (const Expr& operand : c.operands) {
      if (!product && operand.shape() == from) product = reshaped_product(operand, sunk);
    }
    if (!product) return std::nullopt;
    const Shape shape = product->shape();
    std::vector<Expr> operands;
    for (const Expr& operand : c.operands) {
      const std::optional<Expr> same = in_shape(operand, from, shape);
      if (!same) return std::nullopt;
      operands.push_back(*same);
    }
    const Expr value = ir::apply(c.node.op->name, operands, c.node.attributes);
    sunk.resize(c.to.size());
    sunk[value.value.node] = true;
    return ir::reshape(value, from);
  });
}

}  // namespace gradus::passes
