#include "ir/scan.h"

#include <fmt/format.h>

#include <map>

#include "ir/hoist.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

std::string kind_of(const Graph& graph, NodeId input) {
  return graph.node(input).attributes.get<std::string>("kind");
}

}  // namespace

ScanSignature scan_signature(const Graph& body) {
  ScanSignature signature;
  std::map<std::string_view, Value> updates;
  for (const Result& result : body.results()) {
    if (result.update) {
      updates[result.name] = result.value;
    } else {
      signature.outputs.push_back(result);
    }
  }
  for (NodeId id : body.inputs()) {
    const std::string kind = kind_of(body, id);
    if (kind == to_string(InputKind::batch)) {
      signature.stacked.push_back(id);
    } else if (kind == to_string(InputKind::scalar)) {
      if (signature.iteration || body.node(id).types[0] != TensorType{ElementType::i64, {}}) {
        throw TypeError("the one scalar input of a body is the position, i64[]");
      }
      signature.iteration = id;
    } else if (const auto update = updates.find(body.node(id).attributes.get<std::string>("name"));
               update != updates.end()) {
      signature.carried.push_back(id);
      signature.next.push_back(update->second);
    } else {
      signature.invariant.push_back(id);
    }
  }
  return signature;
}

Scan scan_of(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const Graph& body = *node.attributes.get<GraphPointer>("body");
  const ScanSignature signature = scan_signature(body);
  Scan scan{Graph(body.name()),
            {},
            {},
            {},
            node.attributes.get<std::int64_t>("length"),
            node.attributes.get<bool>("reverse")};
  const std::vector<Value> operands = graph.operands(id);
  const ScanParts<Value> parts = signature.parts<Value>(operands);
  for (Value value : parts.carried) scan.carried.push_back({&graph, value});
  for (Value value : parts.stacked) scan.stacked.push_back({&graph, value});
  for (Value value : parts.invariant) scan.invariant.push_back({&graph, value});
  const auto copy_input = [&](NodeId input) -> std::optional<Value> {
    const Node& known = body.node(input);
    if (!std::holds_alternative<InputComputation>(known.op->compute)) return std::nullopt;
    return Value{scan.body.add(known, {}), 0};
  };
  copy_results(body, inline_graph(body, scan.body, copy_input), scan.body);
  return scan;
}

std::vector<Expr> add_scan(Graph& graph, Scan scan) {
  std::vector<Value> operands;
  for (const std::vector<Expr>* part : {&scan.carried, &scan.stacked, &scan.invariant}) {
    for (Expr operand : *part) operands.push_back(operand.value);
  }
  const NodeId id = graph.add(op("scan"), operands,
                              {{"body", std::make_shared<const Graph>(std::move(scan.body))},
                               {"length", scan.length},
                               {"reverse", scan.reverse}});
  std::vector<Expr> results;
  for (std::uint32_t r = 0; r < graph.node(id).types.size(); ++r) {
    results.push_back({&graph, {id, r}});
  }
  return results;
}

std::vector<Expr> scan(Graph& graph, const ScanOperands& operands, std::int64_t length,
                       bool reverse,
                       const std::function<ScanResults(const ScanIteration&)>& iterate) {
  Scan scan{Graph("body"), operands.carried, operands.stacked, operands.invariant, length, reverse};
  Graph& body = scan.body;
  body.set_provenance(graph.provenance());
  const auto inputs = [&](const std::vector<Expr>& part, std::string_view name, InputKind kind) {
    std::vector<Expr> result;
    for (Expr operand : part) {
      TensorType type = operand.type();
      if (kind == InputKind::batch) {
        if (type.rank() == 0 || type.shape[0] != length) {
          throw TypeError(fmt::format("a stack of {} slices, found {}", length, to_string(type)));
        }
        type.shape.erase(type.shape.begin());
      }
      result.push_back(
          {&body, body.add_input(fmt::format("{}{}", name, result.size()), kind, type)});
    }
    return result;
  };
  const std::vector<Expr> carried = inputs(scan.carried, "c", InputKind::state);
  const std::vector<Expr> slices = inputs(scan.stacked, "x", InputKind::batch);
  const std::vector<Expr> invariant = inputs(scan.invariant, "w", InputKind::state);
  const Expr position{&body, body.add_input("t", InputKind::scalar, {ElementType::i64, {}})};
  const ScanResults results = iterate({carried, slices, invariant, position});
  GRADUS_CHECK(results.next.size() == carried.size(), "a next value for every carried one");
  for (std::size_t i = 0; i < carried.size(); ++i) {
    body.add_update(fmt::format("c{}", i), results.next[i].value);
  }
  for (std::size_t i = 0; i < results.outputs.size(); ++i) {
    body.add_result(fmt::format("y{}", i), results.outputs[i].value);
  }
  body.set_provenance({});
  return add_scan(graph, hoisted(graph, std::move(scan)));
}

Moved inline_graph(const Graph& from, Graph& to,
                   const std::function<std::optional<Value>(NodeId)>& known) {
  const Provenance before = to.provenance();
  Moved moved(from.size());
  for (NodeId id : from.inputs()) {
    to.set_provenance(from.node(id).provenance);
    moved[id] = known(id);
  }
  std::vector<bool> needed(from.size());
  for (const Result& result : from.results()) needed[result.value.node] = true;
  for (auto id = static_cast<NodeId>(from.size()); id-- > 0;) {
    if (!needed[id] || moved[id]) continue;
    to.set_provenance(from.node(id).provenance);
    moved[id] = known(id);
    if (moved[id]) continue;
    for (Value operand : from.operands(id)) needed[operand.node] = true;
  }
  std::vector<Value> operands;
  for (NodeId id = 0; id < from.size(); ++id) {
    if (!needed[id] || moved[id]) continue;
    operands.clear();
    for (Value operand : from.operands(id)) operands.push_back(moved_value(moved, operand));
    to.set_provenance(from.node(id).provenance);
    moved[id] = Value{to.add(from.node(id), operands), 0};
  }
  to.set_provenance(before);
  return moved;
}

void copy_results(const Graph& from, const Moved& moved, Graph& to) {
  for (const Result& result : from.results()) {
    const Value value = moved_value(moved, result.value);
    result.update ? to.add_update(result.name, value) : to.add_result(result.name, value);
  }
}

}  // namespace gradus::ir
