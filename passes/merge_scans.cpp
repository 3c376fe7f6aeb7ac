#include "passes/merge_scans.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "ir/hoist.h"
#include "ir/op.h"
#include "ir/scan.h"
#include "passes/copy_scans.h"

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;
using ir::Value;

const Graph& body_of(const Graph& graph, NodeId id) {
  return *graph.node(id).attributes.get<ir::GraphPointer>("body");
}

/// Scans over the same operands whose bodies carry the same values along, as one body.
struct Union {
  std::vector<NodeId> members;
  Graph body{""};
  std::vector<Value> inputs;  // carried, stacked, invariant, then the position
  std::vector<Value> next;
  std::vector<Value> outputs;
  std::map<NodeId, std::vector<std::size_t>> numbers;  // by member: of its outputs
};

std::vector<NodeId> inputs_of(const ir::ScanSignature& signature) {
  std::vector<NodeId> inputs;
  for (const std::vector<NodeId>* part :
       {&signature.carried, &signature.stacked, &signature.invariant}) {
    inputs.insert(inputs.end(), part->begin(), part->end());
  }
  if (signature.iteration) inputs.push_back(*signature.iteration);
  return inputs;
}

/// Appends the member's body, whose inputs are those of the union. Returns whether it carries the
/// same values along.
bool join(Union& all, const Graph& graph, NodeId id) {
  const Graph& body = body_of(graph, id);
  const ir::ScanSignature signature = ir::scan_signature(body);
  std::map<NodeId, Value> known;
  const std::vector<NodeId> inputs = inputs_of(signature);
  if (!all.members.empty() && inputs.size() != all.inputs.size()) return false;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (all.members.empty()) {
      all.body.set_provenance(body.node(inputs[i]).provenance);
      all.inputs.push_back({all.body.add(body.node(inputs[i]), {}), 0});
    }
    known[inputs[i]] = all.inputs[i];
  }
  const ir::Moved moved =
      ir::inline_graph(body, all.body, [&](NodeId node) -> std::optional<Value> {
        const auto found = known.find(node);
        return found == known.end() ? std::nullopt : std::optional(found->second);
      });
  std::vector<Value> next;
  for (Value value : signature.next) next.push_back(ir::moved_value(moved, value));
  if (all.members.empty()) all.next = next;
  if (next != all.next) return false;
  for (const ir::Result& output : signature.outputs) {
    const Value value = ir::moved_value(moved, output.value);
    const auto at = std::ranges::find(all.outputs, value);
    all.numbers[id].push_back(static_cast<std::size_t>(at - all.outputs.begin()));
    if (at == all.outputs.end()) all.outputs.push_back(value);
  }
  all.members.push_back(id);
  return true;
}

std::vector<Union> find_unions(const Graph& graph) {
  std::vector<Union> unions;
  const std::vector<bool> live = graph.live();
  const auto fits = [&](const Union& all, NodeId id) {
    const NodeId first = all.members.front();
    const ir::Attributes& a = graph.node(first).attributes;
    const ir::Attributes& b = graph.node(id).attributes;
    const ir::ScanSignature one = ir::scan_signature(body_of(graph, first));
    const ir::ScanSignature other = ir::scan_signature(body_of(graph, id));
    return graph.operands(first) == graph.operands(id) &&
           one.carried.size() == other.carried.size() &&
           one.stacked.size() == other.stacked.size() &&
           a.get<std::int64_t>("length") == b.get<std::int64_t>("length") &&
           a.get<bool>("reverse") == b.get<bool>("reverse");
  };
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id] || !is_scan(graph, id)) continue;
    const bool joined = std::ranges::any_of(
        unions, [&](Union& all) { return fits(all, id) && join(all, graph, id); });
    if (joined) continue;
    Union& own = unions.emplace_back();
    own.body = Graph(body_of(graph, id).name());
    join(own, graph, id);
  }
  return unions;
}

/// The body with its results, as a scan's.
Graph finished(Union& all, const Graph& graph) {
  Graph& body = all.body;
  const Graph& first = body_of(graph, all.members.front());
  const ir::ScanSignature signature = ir::scan_signature(first);
  for (std::size_t i = 0; i < signature.carried.size(); ++i) {
    body.add_update(first.node(signature.carried[i]).attributes.get<std::string>("name"),
                    all.next[i]);
  }
  for (std::size_t i = 0; i < all.outputs.size(); ++i) {
    body.add_result(fmt::format("y{}", i), all.outputs[i]);
  }
  return std::move(body);
}

// --- Narrowing ----------------------------------------------------------------------------------

/// What of a scan is needed.
struct Needs {
  std::set<std::size_t> results;
  std::set<NodeId> inputs;  // of the body, those that are operands
};

Needs needs_of(const Graph& graph, NodeId id, const std::set<std::size_t>& results) {
  const Graph& body = body_of(graph, id);
  const ir::ScanSignature signature = ir::scan_signature(body);
  Needs needs{results, {}};
  std::vector<bool> live(body.size());
  const auto need = [&](Value value) {
    live[value.node] = true;
    for (NodeId node = value.node + 1; node-- > 0;) {
      if (!live[node]) continue;
      for (Value operand : body.operands(node)) live[operand.node] = true;
    }
  };
  for (std::size_t r : results) {
    if (r >= signature.carried.size()) need(signature.outputs[r - signature.carried.size()].value);
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (std::size_t i = 0; i < signature.carried.size(); ++i) {
      const NodeId input = signature.carried[i];
      if (!(live[input] || results.contains(i)) || !needs.inputs.insert(input).second) continue;
      grown = true;
      need(signature.next[i]);
    }
  }
  for (const std::vector<NodeId>* part : {&signature.stacked, &signature.invariant}) {
    for (NodeId input : *part) {
      if (live[input]) needs.inputs.insert(input);
    }
  }
  return needs;
}

/// By scan, what of it is needed, from the results of the graph on.
std::map<NodeId, Needs> find_needs(const Graph& graph) {
  std::vector<bool> live(graph.size());
  std::map<NodeId, std::set<std::size_t>> results;
  const auto need = [&](Value value) {
    live[value.node] = true;
    results[value.node].insert(value.result);
  };
  for (const ir::Result& result : graph.results()) need(result.value);
  std::map<NodeId, Needs> all;
  for (auto id = static_cast<NodeId>(graph.size()); id-- > 0;) {
    if (!live[id]) continue;
    const std::vector<Value>& operands = graph.operands(id);
    if (!is_scan(graph, id)) {
      for (Value operand : operands) need(operand);
      continue;
    }
    const Needs& needs = all.emplace(id, needs_of(graph, id, results[id])).first->second;
    const std::vector<NodeId> inputs = inputs_of(ir::scan_signature(body_of(graph, id)));
    for (std::size_t i = 0; i < operands.size(); ++i) {
      if (needs.inputs.contains(inputs[i])) need(operands[i]);
    }
  }
  return all;
}

ScanValues narrowed(const Graph& graph, Graph& to, NodeId id, const Needs& needs,
                    const std::vector<Value>& operands) {
  const Graph& body = body_of(graph, id);
  const ir::ScanSignature signature = ir::scan_signature(body);
  ir::Scan scan{Graph(body.name()),
                {},
                {},
                {},
                graph.node(id).attributes.get<std::int64_t>("length"),
                graph.node(id).attributes.get<bool>("reverse")};
  const auto keep = [&](std::vector<ir::Expr>& part, const std::vector<NodeId>& inputs,
                        std::span<const Value> values) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (needs.inputs.contains(inputs[i])) part.push_back({&to, values[i]});
    }
  };
  const ir::ScanParts<Value> parts = signature.parts<Value>(operands);
  keep(scan.carried, signature.carried, parts.carried);
  keep(scan.stacked, signature.stacked, parts.stacked);
  keep(scan.invariant, signature.invariant, parts.invariant);
  // Results first: what is dead afterwards is not copied.
  Graph wanted(body.name());
  const ir::Moved moved = ir::inline_graph(body, wanted, [&](NodeId node) -> std::optional<Value> {
    const ir::Node& known = body.node(node);
    if (!std::holds_alternative<ir::InputComputation>(known.op->compute)) return std::nullopt;
    return Value{wanted.add(known, {}), 0};
  });
  ScanValues values(graph.node(id).types.size());
  std::vector<std::size_t> origin;  // the old number of each new result
  for (std::size_t i = 0; i < signature.carried.size(); ++i) {
    if (!needs.inputs.contains(signature.carried[i])) continue;
    const ir::Node& input = body.node(signature.carried[i]);
    wanted.add_update(input.attributes.get<std::string>("name"),
                      ir::moved_value(moved, signature.next[i]));
    origin.push_back(i);
  }
  for (std::size_t j = 0; j < signature.outputs.size(); ++j) {
    const std::size_t number = signature.stack(j);
    if (!needs.results.contains(number)) continue;
    wanted.add_result(signature.outputs[j].name,
                      ir::moved_value(moved, signature.outputs[j].value));
    origin.push_back(number);
  }
  const ir::Moved last =
      ir::inline_graph(wanted, scan.body, [&](NodeId node) -> std::optional<Value> {
        const ir::Node& known = wanted.node(node);
        if (!std::holds_alternative<ir::InputComputation>(known.op->compute)) return std::nullopt;
        const NodeId old = body.find_input(known.attributes.get<std::string>("name"))->node;
        const bool position = signature.iteration == old && wanted.live()[node];
        if (!needs.inputs.contains(old) && !position) return std::nullopt;
        return Value{scan.body.add(known, {}), 0};
      });
  ir::copy_results(wanted, last, scan.body);
  const std::vector<ir::Expr> results = ir::add_scan(to, std::move(scan));
  for (std::size_t r = 0; r < results.size(); ++r) values[origin[r]] = results[r].value;
  return values;
}

}  // namespace

Graph merge_scans(const Graph& graph) {
  std::vector<Union> unions = find_unions(graph);
  std::map<NodeId, std::size_t> union_of;
  for (std::size_t u = 0; u < unions.size(); ++u) {
    for (NodeId id : unions[u].members) union_of[id] = u;
  }
  std::map<std::size_t, std::vector<ir::Expr>> added;
  return copy_scans(graph, [&](Graph& to, NodeId id, const std::vector<Value>& operands) {
    Union& all = unions[union_of.at(id)];
    const ir::Node& node = graph.node(id);
    std::vector<ir::Expr>& results = added[union_of.at(id)];
    if (results.empty()) {
      ir::Attributes attributes = node.attributes;
      attributes.set("body", std::make_shared<const Graph>(finished(all, graph)));
      const NodeId own = to.add(*node.op, operands, attributes);
      for (std::uint32_t r = 0; r < to.node(own).types.size(); ++r) {
        results.push_back({&to, {own, r}});
      }
    }
    ScanValues values;
    for (std::size_t i = 0; i < all.next.size(); ++i) values.push_back(results[i].value);
    for (std::size_t number : all.numbers[id]) {
      values.push_back(results[all.next.size() + number].value);
    }
    return values;
  });
}

Graph narrow_scans(const Graph& graph) {
  const std::map<NodeId, Needs> needs = find_needs(graph);
  return copy_scans(graph, [&](Graph& to, NodeId id, const std::vector<Value>& operands) {
    const auto found = needs.find(id);
    if (found == needs.end()) return ScanValues(graph.node(id).types.size());
    return narrowed(graph, to, id, found->second, operands);
  });
}

}  // namespace gradus::passes
