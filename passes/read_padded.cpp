#include "passes/read_padded.h"

#include <algorithm>
#include <map>

#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/access.h"
#include "passes/roots.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Graph;
using ir::Integers;
using ir::NodeId;

bool not_negative(const Integers& list) {
  return std::ranges::all_of(list, [](std::int64_t n) { return n >= 0; });
}
bool all_zero(const Integers& list) {
  return std::ranges::all_of(list, [](std::int64_t n) { return n == 0; });
}

/// Pads that contractions and tile ops read, by what they pad: values that elementwise ops make and
/// nobody else has in memory.
std::map<NodeId, NodeId> padded_values(const Graph& graph) {
  std::map<NodeId, NodeId> pads;
  const std::vector<bool> live = graph.live();
  for (NodeId id = 0; id < graph.size(); ++id) {
    const bool reads_memory = is_contraction(graph, id) || is_tile_op(graph, id);
    if (!live[id] || !reads_memory) continue;
    for (ir::Value operand : graph.operands(id)) {
      const NodeId pad = operand_read(graph, operand.node).node;
      const ir::Node& padding = graph.node(pad);
      if (padding.op != &ir::op("pad") || !not_negative(padding.attributes.get<Integers>("low")) ||
          !not_negative(padding.attributes.get<Integers>("high")) ||
          !all_zero(padding.attributes.get<Integers>("interior"))) {
        continue;
      }
      const NodeId inside = graph.operands(pad)[0].node;
      const auto& compute = graph.node(inside).op->compute;
      if (std::holds_alternative<ir::ElementwiseComputation>(compute)) pads.emplace(inside, pad);
    }
  }
  for (const ir::Result& result : graph.results()) {
    pads.erase(memory_of(graph, result.value.node));
  }
  return pads;
}

}  // namespace

Graph read_padded(const Graph& graph) {
  const std::map<NodeId, NodeId> pads = padded_values(graph);
  std::map<NodeId, Expr> made;  // pads in the new graph
  return ir::rewrite(graph, [&](const ir::RewriteContext& c) -> std::optional<Expr> {
    if (const auto known = made.find(c.id); known != made.end()) return known->second;
    const auto pad = pads.find(c.id);
    if (pad == pads.end()) return std::nullopt;
    const ir::Attributes& attributes = graph.node(pad->second).attributes;
    const Expr value = ir::apply(c.node.op->name, c.operands, c.node.attributes);
    const auto& zero = graph.node(graph.operands(pad->second)[1].node);
    const Expr padding = ir::constant(c.to, *zero.attributes.get<ir::TensorPointer>("value"));
    const Integers& low = attributes.get<Integers>("low");
    const Expr padded = ir::pad(value, padding, low, attributes.get<Integers>("high"),
                                attributes.get<Integers>("interior"));
    made.emplace(pad->second, padded);
    Integers limit = low;
    for (std::size_t axis = 0; axis < limit.size(); ++axis) limit[axis] += value.shape()[axis];
    return ir::slice(padded, low, limit, Integers(low.size(), 1));
  });
}

}  // namespace gradus::passes
