#include "passes/copy_scans.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "ir/op.h"

namespace gradus::passes {

using ir::NodeId;
using ir::Value;

bool is_scan(const ir::Graph& graph, NodeId id) {
  return std::holds_alternative<ir::ScanComputation>(graph.node(id).op->compute);
}

ir::Graph copy_scans(const ir::Graph& graph,
                     const std::function<ScanValues(ir::Graph& to, NodeId id,
                                                    const std::vector<Value>& operands)>& replace) {
  ir::Graph to(graph.name());
  to.reserve(graph.size());
  std::vector<bool> live = graph.live();
  for (NodeId id : graph.inputs()) live[id] = true;
  std::vector<ScanValues> moved(graph.size());
  const auto value_of = [&](Value old) {
    const std::optional<Value>& value = moved[old.node].at(old.result);
    GRADUS_CHECK(value.has_value(), "a result of a scan that somebody needs is gone");
    return *value;
  };
  std::vector<Value> operands;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id]) continue;
    to.set_provenance(graph.node(id).provenance);
    operands.clear();
    if (is_scan(graph, id)) {
      // Of what nobody needs an operand may be gone too.
      for (Value operand : graph.operands(id)) {
        operands.push_back(moved[operand.node].at(operand.result).value_or(Value{}));
      }
      moved[id] = replace(to, id, operands);
      continue;
    }
    const bool wanted = std::ranges::all_of(graph.operands(id), [&](Value operand) {
      return moved[operand.node].at(operand.result).has_value();
    });
    if (!wanted) {
      moved[id].resize(1);
      continue;
    }
    for (Value operand : graph.operands(id)) operands.push_back(value_of(operand));
    moved[id] = {Value{to.add(graph.node(id), operands), 0}};
  }
  to.set_provenance({});
  for (const ir::Result& result : graph.results()) {
    const Value value = value_of(result.value);
    result.update ? to.add_update(result.name, value) : to.add_result(result.name, value);
  }
  return to;
}

std::optional<ir::Graph> with_bodies(
    const ir::Graph& graph,
    const std::function<std::optional<ir::Graph>(const ir::Graph& body)>& replace) {
  std::map<NodeId, ir::GraphPointer> bodies;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!is_scan(graph, id)) continue;
    std::optional<ir::Graph> body =
        replace(*graph.node(id).attributes.get<ir::GraphPointer>("body"));
    if (body) bodies[id] = std::make_shared<const ir::Graph>(std::move(*body));
  }
  if (bodies.empty()) return std::nullopt;
  return copy_scans(graph, [&](ir::Graph& to, NodeId id, const std::vector<Value>& operands) {
    const ir::Node& node = graph.node(id);
    ir::Attributes attributes = node.attributes;
    if (const auto body = bodies.find(id); body != bodies.end()) {
      attributes.set("body", body->second);
    }
    const NodeId own = to.add(*node.op, operands, attributes);
    ScanValues values;
    for (std::uint32_t r = 0; r < node.types.size(); ++r) values.emplace_back(Value{own, r});
    return values;
  });
}

}  // namespace gradus::passes
