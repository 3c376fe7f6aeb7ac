#include "ir/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/hash.h"
#include "ir/known_nodes.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

class Verifier {
 public:
  Verifier(const Graph& graph, const std::string& where) : graph_(graph), where_(where) {}

  void run() const {
    for (NodeId id = 0; id < graph_.size(); ++id) {
      operands(id);
      attributes(id);
      types(id);
    }
    distinct();
    inputs();
    results();
  }

 private:
  void require(bool holds, NodeId id, std::string_view law) const {
    if (holds) return;
    throw InternalError(fmt::format("{}: node %{} ({}) of graph {}: {}", where_, id,
                                    graph_.node(id).op->name, graph_.name(), law));
  }
  void require(bool holds, const Result& result, std::string_view law) const {
    if (holds) return;
    throw InternalError(fmt::format("{}: {} \"{}\" of graph {}: {}", where_,
                                    result.update ? "update" : "output", result.name, graph_.name(),
                                    law));
  }

  void operands(NodeId id) const {
    for (Value operand : graph_.operands(id)) {
      require(operand.node < id, id, "an operand comes after its user");
      require(operand.result < graph_.node(operand.node).types.size(), id,
              "an operand that its node does not give");
    }
  }

  void attributes(NodeId id) const {
    const Node& node = graph_.node(id);
    require(node.attributes.size() == node.op->attributes.size(), id,
            "attributes are not those of the schema");
    std::size_t position = 0;
    for (const auto& [name, value] : node.attributes) {
      const AttributeSpec& spec = node.op->attributes[position++];
      require(name == spec.name && value.index() == static_cast<std::size_t>(spec.kind), id,
              "attributes are not in the order and of the kinds of the schema");
      if (const GraphPointer* body = std::get_if<GraphPointer>(&value)) {
        require(*body != nullptr, id, "a loop without a body");
        verify(**body, where_);
      }
      const TensorPointer* tensor = std::get_if<TensorPointer>(&value);
      require(!tensor || *tensor, id, "a constant without a tensor");
      require(!tensor || std::cmp_equal((*tensor)->bytes.size(), (*tensor)->type.byte_size()), id,
              "a constant whose bytes are not those of its type");
    }
  }

  void types(NodeId id) const {
    const Node& node = graph_.node(id);
    std::vector<TensorType> given;
    for (Value operand : graph_.operands(id)) given.push_back(graph_.type(operand));
    const auto count = static_cast<int>(given.size());
    require(count >= node.op->least_operands &&
                (node.op->most_operands < 0 || count <= node.op->most_operands),
            id, "a number of operands that its op does not take");
    try {
      require(node.op->infer({given, node.attributes}) == node.types, id,
              "its types are not those that its op infers");
    } catch (const TypeError& error) {
      require(false, id, error.what());
    }
    for (const TensorType& type : node.types) {
      require(is_valid(type.shape), id, "a shape that is negative or too large");
    }
  }

  /// No two nodes have equal op, operands and attributes.
  void distinct() const {
    KnownNodes known;
    known.reserve(graph_.size());
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_.node(id);
      const std::vector<Value>& own = graph_.operands(id);
      std::uint64_t hash = hash_combine(hash_bytes(node.op->name.data(), node.op->name.size()),
                                        node.attributes.hash());
      for (Value operand : own) hash = hash_combine(hash, operand.node);
      const std::optional<NodeId> equal = known.find(hash, [&](NodeId other) {
        return graph_.node(other).op == node.op && graph_.operands(other) == own &&
               graph_.node(other).attributes == node.attributes;
      });
      if (equal) require(false, id, fmt::format("equals node %{}", *equal));
      known.insert(hash, id);
    }
  }

  void inputs() const {
    std::vector<NodeId> found;
    for (NodeId id = 0; id < graph_.size(); ++id) {
      if (std::holds_alternative<InputComputation>(graph_.node(id).op->compute)) {
        found.push_back(id);
      }
    }
    GRADUS_CHECK(std::ranges::equal(graph_.inputs(), found),
                 where_ + ": the list of inputs of graph " + graph_.name());
    std::set<std::string_view> names;
    for (NodeId id : found) {
      require(names.insert(graph_.node(id).attributes.get<std::string>("name")).second, id,
              "another input has its name");
    }
  }

  void results() const {
    std::set<std::pair<std::string_view, bool>> names;
    for (const Result& result : graph_.results()) {
      require(result.value.node < graph_.size() &&
                  result.value.result < graph_.node(result.value.node).types.size(),
              result, "its value is not in the graph");
      require(names.emplace(result.name, result.update).second, result, "the name is taken");
      if (result.update) update(result);
    }
  }

  void update(const Result& result) const {
    const std::optional<Value> state = graph_.find_input(result.name);
    require(state.has_value(), result, "there is no input of its name");
    const std::string& kind = graph_.node(state->node).attributes.get<std::string>("kind");
    require(kind == to_string(InputKind::state), result, "the input of its name is no state");
    if (graph_.type(*state) == graph_.type(result.value)) return;
    require(false, result,
            fmt::format("the state is {}, its update {}", to_string(graph_.type(*state)),
                        to_string(graph_.type(result.value))));
  }

  const Graph& graph_;
  const std::string& where_;
};

}  // namespace

void verify(const Graph& graph, const std::string& where) { Verifier(graph, where).run(); }

}  // namespace gradus::ir
