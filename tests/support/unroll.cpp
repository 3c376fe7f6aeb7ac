#include "tests/support/unroll.h"

#include <map>
#include <optional>
#include <vector>

#include "ir/expr.h"
#include "ir/op.h"

namespace gradus::support {
namespace {

using ir::Expr;
using ir::Graph;
using ir::NodeId;

using Results = std::vector<Expr>;

void copy_nodes(const Graph& from, Graph& to, std::map<NodeId, Results>& known);

Expr slice_of(Expr stack, std::int64_t t) {
  Shape start(stack.shape().size(), 0), limit = stack.shape(), stride(start.size(), 1);
  start[0] = t;
  limit[0] = t + 1;
  return ir::reshape(ir::slice(stack, start, limit, stride), Shape(limit.begin() + 1, limit.end()));
}

Results unrolled(Graph& to, const ir::Node& node, const Results& operands) {
  const Graph& body = *node.attributes.get<ir::GraphPointer>("body");
  const std::int64_t length = node.attributes.get<std::int64_t>("length");
  std::map<std::string, ir::Value> updates;
  for (const ir::Result& result : body.results()) {
    if (result.update) updates[result.name] = result.value;
  }
  // The parts of the operands, as ir/scan.h says.
  std::vector<NodeId> carried, stacked, invariant;
  std::optional<NodeId> position;
  for (NodeId id : body.inputs()) {
    const std::string& kind = body.node(id).attributes.get<std::string>("kind");
    const bool has_update = updates.contains(body.node(id).attributes.get<std::string>("name"));
    if (kind == "scalar") position = id;
    if (kind == "batch") stacked.push_back(id);
    if (kind == "state") (has_update ? carried : invariant).push_back(id);
  }
  std::map<NodeId, Expr> values;
  std::size_t next = 0;
  for (NodeId id : carried) values[id] = operands[next++];
  const std::size_t first_stack = next;
  next += stacked.size();
  for (NodeId id : invariant) values[id] = operands[next++];
  std::map<std::string, std::map<std::int64_t, Expr>> slices;
  for (std::int64_t i = 0; i < length; ++i) {
    const std::int64_t t = node.attributes.get<bool>("reverse") ? length - 1 - i : i;
    std::map<NodeId, Results> known;
    for (const auto& [id, value] : values) known[id] = {value};
    for (std::size_t s = 0; s < stacked.size(); ++s) {
      known[stacked[s]] = {slice_of(operands[first_stack + s], t)};
    }
    if (position) known[*position] = {ir::constant(to, Tensor::scalar(ElementType::i64, t))};
    copy_nodes(body, to, known);
    const auto value_of = [&](ir::Value value) { return known.at(value.node)[value.result]; };
    for (const ir::Result& result : body.results()) {
      if (!result.update) slices[result.name][t] = value_of(result.value);
    }
    for (NodeId id : carried) {
      values[id] = value_of(updates.at(body.node(id).attributes.get<std::string>("name")));
    }
  }
  Results results;
  for (NodeId id : carried) results.push_back(values[id]);
  for (const ir::Result& result : body.results()) {
    if (result.update) continue;
    Results stack;
    for (const auto& [t, value] : slices[result.name]) {
      Shape shape = value.shape();
      shape.insert(shape.begin(), 1);
      stack.push_back(ir::reshape(value, shape));
    }
    results.push_back(ir::concat(stack, 0));
  }
  return results;
}

void copy_nodes(const Graph& from, Graph& to, std::map<NodeId, Results>& known) {
  const std::vector<bool> live = from.live();
  for (NodeId id = 0; id < from.size(); ++id) {
    if (known.contains(id) || !live[id]) continue;
    const ir::Node& node = from.node(id);
    Results operands;
    for (ir::Value operand : from.operands(id)) {
      operands.push_back(known.at(operand.node)[operand.result]);
    }
    if (node.op->name == "scan") {
      known[id] = unrolled(to, node, operands);
    } else {
      std::vector<ir::Value> values;
      for (Expr operand : operands) values.push_back(operand.value);
      known[id] = {Expr{&to, {to.add(*node.op, values, node.attributes), 0}}};
    }
  }
}

}  // namespace

Graph unroll(const Graph& graph) {
  Graph to(graph.name());
  std::map<NodeId, Results> known;
  for (NodeId id : graph.inputs()) {
    const ir::Node& node = graph.node(id);
    known[id] = {Expr{&to, {to.add(*node.op, {}, node.attributes), 0}}};
  }
  copy_nodes(graph, to, known);
  for (const ir::Result& result : graph.results()) {
    const ir::Value value = known.at(result.value.node)[result.value.result].value;
    result.update ? to.add_update(result.name, value) : to.add_result(result.name, value);
  }
  return to;
}

}  // namespace gradus::support
