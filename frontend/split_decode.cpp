// What a decoding program makes of inputs that are given whole, such as the sequence that an
// encoder reads, is the same at every position: it is computed once and carried.

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "frontend/build.h"

namespace gradus::frontend {
namespace {

using ir::NodeId;
using ir::Value;

bool is_input(const ir::Node& node) {
  return std::holds_alternative<ir::InputComputation>(node.op->compute);
}

/// What the values of a node depend on.
struct Dependence {
  bool whole = false;    // inputs that are given whole
  bool changes = false;  // anything else that is not the same in every run
};

class Split {
 public:
  Split(const ir::Graph& graph, std::span<const ParameterSpec> parameters,
        std::span<const std::string> whole)
      : graph_(graph), once_("encode"), again_(graph.name()) {
    for (NodeId id = 0; id < graph.size(); ++id) {
      Dependence own;
      for (const Value operand : graph.operands(id)) {
        own.whole = own.whole || dependence_[operand.node].whole;
        own.changes = own.changes || dependence_[operand.node].changes;
      }
      if (is_input(graph.node(id))) {
        const auto& name = graph.node(id).attributes.get<std::string>("name");
        own.whole = std::ranges::find(whole, name) != whole.end();
        own.changes = !own.whole &&
                      std::ranges::find(parameters, name, &ParameterSpec::name) == parameters.end();
      }
      dependence_.push_back(own);
    }
  }

  SplitDecode run() {
    for (const ir::Result& result : graph_.results()) {
      if (result.update) (void)in_again(*graph_.find_input(result.name));
      const Value value = in_again(result.value);
      if (result.update) {
        again_.add_update(result.name, value);
      } else {
        again_.add_result(result.name, value);
      }
    }
    return {std::move(once_), std::move(again_), std::move(carried_)};
  }

 private:
  using Copies = std::map<NodeId, NodeId>;

  /// Where the program of one position stops: the value is found where the other one has left it.
  /// What only repeats values is made again from the smaller ones.
  [[nodiscard]] bool is_carried(Value value) const {
    const Dependence& own = dependence_[value.node];
    return own.whole && !own.changes && graph_.node(value.node).op->name != "broadcast";
  }

  Value in_once(Value value) { return copy(value, once_, once_copies_, &Split::in_once); }
  Value in_again(Value value) {
    if (is_carried(value)) return carried(value);
    return copy(value, again_, again_copies_, &Split::in_again);
  }

  Value carried(Value value) {
    const auto known = carried_values_.find(value);
    if (known != carried_values_.end()) return known->second;
    const std::string name = fmt::format("encode/{}", carried_.size());
    const TensorType& type = graph_.type(value);
    const ir::Provenance& provenance = graph_.node(value.node).provenance;
    const ir::ProvenanceScope scope(once_, provenance);
    (void)once_.add_input(name, ir::InputKind::state, type);
    once_.add_update(name, in_once(value));
    carried_.push_back({name, type, StateKind::carried, provenance});
    const ir::ProvenanceScope own(again_, provenance);
    const Value left = again_.add_input(name, ir::InputKind::state, type);
    return carried_values_.emplace(value, left).first->second;
  }

  Value copy(Value value, ir::Graph& into, Copies& copies, Value (Split::*operand_of)(Value)) {
    const auto known = copies.find(value.node);
    if (known != copies.end()) return {known->second, value.result};
    std::vector<Value> operands;
    for (const Value operand : graph_.operands(value.node)) {
      operands.push_back((this->*operand_of)(operand));
    }
    const ir::Node& node = graph_.node(value.node);
    const ir::ProvenanceScope scope(into, node.provenance);
    const NodeId made = into.add(*node.op, operands, node.attributes);
    copies.emplace(value.node, made);
    return {made, value.result};
  }

  const ir::Graph& graph_;
  ir::Graph once_;
  ir::Graph again_;
  std::vector<Dependence> dependence_;
  Copies once_copies_;
  Copies again_copies_;
  std::map<Value, Value> carried_values_;
  std::vector<StateSpec> carried_;
};

}  // namespace

SplitDecode split_decode(const ir::Graph& graph, std::span<const ParameterSpec> parameters,
                         std::span<const std::string> whole) {
  return Split(graph, parameters, whole).run();
}

}  // namespace gradus::frontend
