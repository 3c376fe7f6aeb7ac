#include "ir/verify.h"

#include <fmt/format.h>

#include <unordered_map>

#include "base/hash.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

void require(bool holds, const std::string& where, NodeId id, const Graph& graph,
             std::string_view law) {
  if (holds) return;
  throw InternalError(fmt::format("{}: node %{} ({}) of graph {}: {}", where, id,
                                  graph.node(id).op->name, graph.name(), law));
}

void verify_node(const Graph& graph, NodeId id, const std::string& where) {
  const Node& node = graph.node(id);
  std::vector<TensorType> types;
  for (Value operand : graph.operands(id)) {
    require(operand.node < id, where, id, graph, "an operand comes after its user");
    require(operand.result < graph.node(operand.node).types.size(), where, id, graph,
            "an operand that its node does not give");
    types.push_back(graph.type(operand));
  }
  require(node.attributes.size() == node.op->attributes.size(), where, id, graph,
          "attributes are not those of the schema");
  std::size_t position = 0;
  for (const auto& [name, value] : node.attributes) {
    const AttributeSpec& spec = node.op->attributes[position++];
    require(name == spec.name && value.index() == static_cast<std::size_t>(spec.kind), where, id,
            graph, "attributes are not in the order and of the kinds of the schema");
  }
  try {
    require(node.op->infer({types, node.attributes}) == node.types, where, id, graph,
            "its types are not those that its op infers");
  } catch (const TypeError& error) {
    require(false, where, id, graph, error.what());
  }
}

void verify_distinct(const Graph& graph, const std::string& where) {
  std::unordered_multimap<std::uint64_t, NodeId> known;
  for (NodeId id = 0; id < graph.size(); ++id) {
    const Node& node = graph.node(id);
    const std::vector<Value> operands = graph.operands(id);
    std::uint64_t hash = hash_combine(hash_bytes(node.op->name.data(), node.op->name.size()),
                                      node.attributes.hash());
    for (Value operand : operands) hash = hash_combine(hash, operand.node);
    const auto [first, last] = known.equal_range(hash);
    for (auto at = first; at != last; ++at) {
      const Node& other = graph.node(at->second);
      require(other.op != node.op || other.attributes != node.attributes ||
                  graph.operands(at->second) != operands,
              where, id, graph, fmt::format("equals node %{}", at->second));
    }
    known.emplace(hash, id);
  }
}

}  // namespace

void verify(const Graph& graph, const std::string& where) {
  for (NodeId id = 0; id < graph.size(); ++id) verify_node(graph, id, where);
  verify_distinct(graph, where);
  for (const Result& result : graph.results()) {
    GRADUS_CHECK(result.value.node < graph.size(), where + ": result " + result.name);
    if (!result.update) continue;
    const std::optional<Value> state = graph.find_input(result.name);
    require(state && graph.type(*state) == graph.type(result.value), where, result.value.node,
            graph, "updates " + result.name + ", which is no state of its type");
  }
}

}  // namespace gradus::ir
