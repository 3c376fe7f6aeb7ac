#include "ir/graph.h"

#include <algorithm>
#include <array>

#include "base/hash.h"
#include "ir/graph_structure.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

std::uint64_t structural_hash(const OpRecord& op, std::span<const Value> operands,
                              const Attributes& attributes) {
  std::uint64_t hash = hash_bytes(op.name.data(), op.name.size());
  for (Value operand : operands) {
    hash = hash_combine(hash, (std::uint64_t{operand.node} << 32) | operand.result);
  }
  return hash_combine(hash, attributes.hash());
}

bool is_complete(const OpRecord& op, const Attributes& given) {
  return std::ranges::equal(given, op.attributes, [](const auto& entry, const AttributeSpec& spec) {
    return entry.first == spec.name && entry.second.index() == static_cast<std::size_t>(spec.kind);
  });
}

/// The given attributes in schema order, checked, with defaults filled in.
Attributes complete(const OpRecord& op, Attributes given) {
  if (is_complete(op, given)) return given;
  for (const auto& [name, value] : given) {
    const auto known = std::find_if(op.attributes.begin(), op.attributes.end(),
                                    [&](const AttributeSpec& spec) { return spec.name == name; });
    if (known == op.attributes.end()) {
      throw TypeError(std::string(op.name) + " has no attribute '" + name + "'");
    }
  }
  Attributes::Entries entries;
  for (const AttributeSpec& spec : op.attributes) {
    const Attribute* value = given.find(spec.name);
    if (!value && spec.default_value) value = &*spec.default_value;
    if (!value) {
      throw TypeError(std::string(op.name) + " needs attribute '" + std::string(spec.name) + "'");
    }
    if (value->index() != static_cast<std::size_t>(spec.kind)) {
      throw TypeError("attribute '" + std::string(spec.name) + "' of " + std::string(op.name) +
                      " has the wrong kind");
    }
    entries.emplace_back(spec.name, *value);
  }
  return Attributes(std::move(entries));
}

void check_arity(const OpRecord& op, std::size_t count) {
  const auto found = static_cast<int>(count);
  if (found >= op.least_operands && (op.most_operands < 0 || found <= op.most_operands)) return;
  throw TypeError(std::string(op.name) + " takes " + std::to_string(op.least_operands) +
                  (op.most_operands < 0 ? " or more" : "") + " operands, found " +
                  std::to_string(found));
}

}  // namespace

std::string_view to_string(InputKind kind) {
  constexpr std::array<std::string_view, 3> names{"state", "batch", "scalar"};
  return names[static_cast<std::size_t>(kind)];
}

Graph::Graph(std::string name)
    : name_(std::move(name)), structure_(std::make_unique<GraphStructure>()) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

NodeId Graph::add(const OpRecord& op, std::span<const Value> operands, Attributes given) {
  check_arity(op, operands.size());
  Attributes attributes = complete(op, std::move(given));
  const std::uint64_t hash = structural_hash(op, operands, attributes);
  if (const std::optional<NodeId> known = find(op, operands, attributes, hash)) {
    merge_provenance(*known, provenance_);
    return *known;
  }
  std::vector<TensorType> types;
  for (Value operand : operands) {
    GRADUS_CHECK(operand.node < size(), "an operand that is not in the graph");
    types.push_back(type(operand));
  }
  std::vector<TensorType> results = op.infer({types, attributes});
  for (const TensorType& result : results) {
    if (!is_valid(result.shape)) {
      throw TypeError("the result of " + std::string(op.name) + " would be " + to_string(result));
    }
  }
  return append({&op, std::move(attributes), std::move(results), provenance_}, operands, hash);
}

NodeId Graph::add(const Node& node, std::span<const Value> operands) {
  const std::uint64_t hash = structural_hash(*node.op, operands, node.attributes);
  if (const std::optional<NodeId> known = find(*node.op, operands, node.attributes, hash)) {
    merge_provenance(*known, provenance_);
    return *known;
  }
  return append({node.op, node.attributes, node.types, provenance_}, operands, hash);
}

std::optional<NodeId> Graph::find(const OpRecord& op, std::span<const Value> operands,
                                  const Attributes& attributes, std::uint64_t hash) const {
  return structure_->known.find(hash, [&](NodeId id) {
    const Node& known = node(id);
    return known.op == &op && known.attributes == attributes &&
           std::ranges::equal(this->operands(id), operands);
  });
}

NodeId Graph::append(Node node, std::span<const Value> operands, std::uint64_t hash) {
  BoostGraph& graph = structure_->graph;
  const auto id = static_cast<NodeId>(boost::add_vertex(graph));
  if (std::holds_alternative<InputComputation>(node.op->compute)) {
    inputs_.push_back(id);
    structure_->inputs.emplace(node.attributes.get<std::string>("name"), id);
  }
  graph[id] = std::move(node);
  for (std::uint32_t i = 0; i < operands.size(); ++i) {
    boost::add_edge(operands[i].node, id, Edge{i, operands[i].result}, graph);
  }
  structure_->operands.emplace_back(operands.begin(), operands.end());
  structure_->known.insert(hash, id);
  return id;
}

Value Graph::add_input(std::string name, InputKind kind, TensorType type) {
  if (const std::optional<Value> known = find_input(name)) {
    const Attributes& attributes = node(known->node).attributes;
    if (this->type(*known) != type || attributes.get<std::string>("kind") != to_string(kind)) {
      throw TypeError("input '" + name + "' is " + attributes.get<std::string>("kind") + " " +
                      to_string(this->type(*known)) + " already");
    }
  }
  return {add(op("input"), {},
              {{"name", std::move(name)},
               {"kind", std::string(to_string(kind))},
               {"element", type.element},
               {"shape", type.shape}}),
          0};
}

void Graph::add_result(std::string name, Value value) {
  for (const Result& result : results_) {
    GRADUS_CHECK(result.update || result.name != name, "two results named " + name);
  }
  results_.push_back({std::move(name), value, false});
}

void Graph::add_update(std::string name, Value value) {
  const std::optional<Value> state = find_input(name);
  if (!state || node(state->node).attributes.get<std::string>("kind") != "state") {
    throw TypeError("there is no state '" + name + "' to update");
  }
  if (type(*state) != type(value)) {
    throw TypeError("state '" + name + "' is " + to_string(type(*state)) + ", its update " +
                    to_string(type(value)));
  }
  for (const Result& result : results_) {
    GRADUS_CHECK(!result.update || result.name != name, "two updates of " + name);
  }
  results_.push_back({std::move(name), value, true});
}

void Graph::reserve(std::size_t nodes) {
  structure_->graph.m_vertices.reserve(nodes);
  structure_->known.reserve(nodes);
}

std::size_t Graph::size() const { return boost::num_vertices(structure_->graph); }
const Node& Graph::node(NodeId id) const { return structure_->graph[id]; }
const TensorType& Graph::type(Value value) const { return node(value.node).types.at(value.result); }

const std::vector<Value>& Graph::operands(NodeId id) const { return structure_->operands[id]; }

std::vector<NodeId> Graph::users(NodeId id) const {
  const BoostGraph& graph = structure_->graph;
  std::vector<NodeId> result;
  const auto [first, last] = boost::out_edges(id, graph);
  for (auto edge = first; edge != last; ++edge) {
    result.push_back(static_cast<NodeId>(boost::target(*edge, graph)));
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

std::optional<Value> Graph::find_input(std::string_view name) const {
  const auto at = structure_->inputs.find(name);
  return at == structure_->inputs.end() ? std::nullopt : std::optional(Value{at->second, 0});
}

std::vector<bool> Graph::live() const {
  std::vector<bool> live(size());
  for (const Result& result : results_) live[result.value.node] = true;
  for (auto id = static_cast<NodeId>(size()); id-- > 0;) {
    if (!live[id]) continue;
    for (Value operand : operands(id)) live[operand.node] = true;
  }
  return live;
}

std::uint64_t Graph::hash() const {
  const std::vector<bool> live = this->live();
  std::vector<std::uint64_t> hashes(size());
  for (NodeId id = 0; id < size(); ++id) {
    if (!live[id]) continue;
    const Node& n = node(id);
    std::uint64_t hash = hash_bytes(n.op->name.data(), n.op->name.size());
    for (Value operand : operands(id)) {
      hash = hash_combine(hash, hash_combine(hashes[operand.node], operand.result));
    }
    hashes[id] = hash_combine(hash, n.attributes.hash());
  }
  std::uint64_t hash = hash_bytes(name_.data(), name_.size());
  for (const Result& result : results_) {
    hash = hash_combine(hash, hash_bytes(result.name.data(), result.name.size()));
    hash = hash_combine(hash, hash_combine(hashes[result.value.node],
                                           result.value.result * 2 + (result.update ? 1u : 0u)));
  }
  return hash;
}

bool same_structure(const Graph& a, const Graph& b) {
  if (&a == &b) return true;
  if (a.hash() != b.hash() || a.results().size() != b.results().size()) return false;
  const std::vector<bool> live_a = a.live();
  const std::vector<bool> live_b = b.live();
  std::vector<NodeId> other(a.size());  // the node of b for a live one of a
  const auto equal = [&](Value x, Value y) {
    return other[x.node] == y.node && x.result == y.result;
  };
  NodeId next = 0;
  for (NodeId id = 0; id < a.size(); ++id) {
    if (!live_a[id]) continue;
    while (next < b.size() && !live_b[next]) ++next;
    if (next == b.size() || a.node(id).op != b.node(next).op ||
        !(a.node(id).attributes == b.node(next).attributes) ||
        !std::ranges::equal(a.operands(id), b.operands(next), equal)) {
      return false;
    }
    other[id] = next++;
  }
  return std::ranges::equal(a.results(), b.results(), [&](const Result& x, const Result& y) {
    return x.name == y.name && x.update == y.update && equal(x.value, y.value);
  });
}

void Graph::merge_provenance(NodeId id, const Provenance& provenance) {
  structure_->graph[id].provenance.merge(provenance);
}

}  // namespace gradus::ir
