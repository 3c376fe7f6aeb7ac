#include "ir/rewrite.h"

#include "ir/op.h"

namespace gradus::ir {

Graph rewrite(const Graph& graph,
              const std::function<std::optional<Expr>(const RewriteContext&)>& replace) {
  Graph to(graph.name());
  to.reserve(graph.size());
  std::vector<bool> live = graph.live();
  for (NodeId id : graph.inputs()) live[id] = true;
  std::vector<Value> moved(graph.size());
  const auto value_of = [&](Value old) {
    return Value{moved[old.node].node, moved[old.node].result + old.result};
  };
  std::vector<Expr> operands;
  std::vector<Value> values;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id]) continue;
    const Node& node = graph.node(id);
    to.set_provenance(node.provenance);
    operands.clear();
    values.clear();
    for (Value operand : graph.operands(id)) {
      values.push_back(value_of(operand));
      operands.push_back({&to, values.back()});
    }
    const std::optional<Expr> other = replace({graph, id, node, operands, to});
    moved[id] = other ? other->value : Value{to.add(node, values), 0};
    GRADUS_CHECK(to.type(moved[id]) == node.types[0], "a rewrite of another type");
    GRADUS_CHECK(node.types.size() == 1 || to.node(moved[id].node).types == node.types,
                 "a rewrite with other results");
    to.merge_provenance(moved[id].node, node.provenance);
  }
  to.set_provenance({});
  for (const Result& result : graph.results()) {
    const Value value = value_of(result.value);
    result.update ? to.add_update(result.name, value) : to.add_result(result.name, value);
  }
  return to;
}

Graph copy(const Graph& graph) {
  return rewrite(graph, [](const RewriteContext&) { return std::nullopt; });
}

}  // namespace gradus::ir
