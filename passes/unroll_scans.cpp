#include "passes/unroll_scans.h"

#include <map>
#include <optional>
#include <utility>

#include "ir/op.h"
#include "ir/rewrite.h"
#include "ir/scan.h"
#include "passes/copy_scans.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Graph;
using ir::NodeId;
using ir::Value;

Expr slice_of(Expr stack, std::int64_t position) {
  ir::Integers start(stack.shape().size(), 0);
  ir::Integers limit = stack.shape();
  start[0] = position;
  limit[0] = position + 1;
  return ir::reshape(ir::slice(stack, start, limit, ir::Integers(start.size(), 1)),
                     Shape(limit.begin() + 1, limit.end()));
}

/// The iterations one after another.
ScanValues unrolled(Graph& to, const Graph& graph, NodeId id, const std::vector<Value>& operands) {
  const ir::Attributes& attributes = graph.node(id).attributes;
  const Graph& body = *attributes.get<ir::GraphPointer>("body");
  const std::int64_t length = attributes.get<std::int64_t>("length");
  const ir::ScanSignature signature = ir::scan_signature(body);
  std::map<NodeId, Value> known;
  const ir::ScanParts<Value> parts = signature.parts<Value>(operands);
  for (std::size_t c = 0; c < signature.carried.size(); ++c) {
    known[signature.carried[c]] = parts.carried[c];
  }
  for (std::size_t w = 0; w < signature.invariant.size(); ++w) {
    known[signature.invariant[w]] = parts.invariant[w];
  }
  const auto count = static_cast<std::size_t>(length);
  std::vector<std::vector<Expr>> outputs(signature.outputs.size(), std::vector<Expr>(count));
  for (std::int64_t i = 0; i < length; ++i) {
    const std::int64_t t = attributes.get<bool>("reverse") ? length - 1 - i : i;
    for (std::size_t s = 0; s < signature.stacked.size(); ++s) {
      known[signature.stacked[s]] = slice_of({&to, parts.stacked[s]}, t).value;
    }
    if (signature.iteration) {
      known[*signature.iteration] = ir::constant(to, Tensor::scalar(ElementType::i64, t)).value;
    }
    const ir::Moved moved = ir::inline_graph(body, to, [&](NodeId node) -> std::optional<Value> {
      const auto found = known.find(node);
      return found == known.end() ? std::nullopt : std::optional(found->second);
    });
    for (std::size_t r = 0; r < outputs.size(); ++r) {
      const Expr value{&to, ir::moved_value(moved, signature.outputs[r].value)};
      Shape shape = value.shape();
      shape.insert(shape.begin(), 1);
      outputs[r][static_cast<std::size_t>(t)] = ir::reshape(value, shape);
    }
    std::vector<Value> carried;
    for (Value value : signature.next) carried.push_back(ir::moved_value(moved, value));
    for (std::size_t c = 0; c < carried.size(); ++c) known[signature.carried[c]] = carried[c];
  }
  ScanValues values;
  for (NodeId input : signature.carried) values.emplace_back(known[input]);
  for (const std::vector<Expr>& output : outputs) {
    values.emplace_back(ir::concat(output, 0).value);
  }
  return values;
}

Graph unroll(const Graph& graph) {
  return copy_scans(graph, [&](Graph& to, NodeId id, const std::vector<Value>& operands) {
    return unrolled(to, graph, id, operands);
  });
}

}  // namespace

Graph unroll_inner_scans(const Graph& graph) {
  std::optional<Graph> changed = with_bodies(graph, [](const Graph& body) -> std::optional<Graph> {
    for (NodeId id = 0; id < body.size(); ++id) {
      if (is_scan(body, id)) return unroll(body);
    }
    return std::nullopt;
  });
  return changed ? std::move(*changed) : ir::copy(graph);
}

}  // namespace gradus::passes
