#pragma once

// The graph: a static computation as pure nodes over a Boost.Graph adjacency list.
//
// Laws:
//  - Append-only. A node's operands have smaller ids, so ascending id is a topological order.
//  - Hash-consed: two nodes never have equal op, operands and attributes (compared by bits).
//    Adding an equal node returns the first one and merges provenance.
//  - Every node is pure. State enters as inputs of kind `state` and leaves as updates.
//  - Every node's types are those that its op infers.
// A pass copies the live part into a new graph (ir/rewrite.h); nothing is edited in place.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/attributes.h"
#include "ir/provenance.h"

namespace gradus::ir {

struct OpRecord;

using NodeId = std::uint32_t;

/// Result number `result` of node `node`.
struct Value {
  NodeId node = 0;
  std::uint32_t result = 0;
  friend auto operator<=>(const Value&, const Value&) = default;
};

/// The types of a node's results, in order. Copies share them.
class ResultTypes {
 public:
  ResultTypes() = default;
  ResultTypes(std::vector<TensorType> types)
      : types_(std::make_shared<const std::vector<TensorType>>(std::move(types))) {}

  [[nodiscard]] const TensorType& operator[](std::size_t result) const { return (*types_)[result]; }
  [[nodiscard]] const TensorType& at(std::size_t result) const { return all().at(result); }
  [[nodiscard]] std::size_t size() const { return all().size(); }
  [[nodiscard]] auto begin() const { return all().begin(); }
  [[nodiscard]] auto end() const { return all().end(); }
  friend bool operator==(const ResultTypes& a, const ResultTypes& b) {
    return a.types_ == b.types_ || a.all() == b.all();
  }

 private:
  [[nodiscard]] const std::vector<TensorType>& all() const {
    static const std::vector<TensorType> none;
    return types_ ? *types_ : none;
  }

  std::shared_ptr<const std::vector<TensorType>> types_;  // null: none
};

struct Node {
  const OpRecord* op = nullptr;  // an entry of ir/op.h's registry, never null
  Attributes attributes;
  ResultTypes types;
  Provenance provenance;
};

/// What an input is: `state` persists between steps, `batch` is one batch of data, `scalar` is
/// given by the runtime (seed, step number).
enum class InputKind : std::uint8_t { state, batch, scalar };
[[nodiscard]] std::string_view to_string(InputKind kind);

/// A named result. With `update` the value replaces the state input of that name.
struct Result {
  std::string name;
  Value value;
  bool update = false;
};

/// Thrown by Graph::add when operands or attributes do not fit the op. The message says what was
/// expected and what was found; who builds the graph adds the place.
class TypeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The Boost.Graph adjacency list; see ir/graph_structure.h for those who run its algorithms.
struct GraphStructure;

class Graph {
 public:
  explicit Graph(std::string name);
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();

  /// Appends a node (or finds its equal). Fills in attribute defaults, orders attributes by the
  /// schema, infers result types. Throws TypeError.
  NodeId add(const OpRecord& op, std::span<const Value> operands, Attributes attributes = {});
  /// The same node (of another graph, perhaps) on operands of the same types.
  NodeId add(const Node& node, std::span<const Value> operands);
  /// Appends the input `name` (or finds it). Throws TypeError when the name has another kind or
  /// type already.
  Value add_input(std::string name, InputKind kind, TensorType type);
  /// Names must be unique among the outputs, and among the updates.
  void add_result(std::string name, Value value);
  /// `value` becomes the new content of state input `name`, which must exist with that type.
  void add_update(std::string name, Value value);

  [[nodiscard]] const std::string& name() const { return name_; }
  /// Makes room for so many nodes.
  void reserve(std::size_t nodes);
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] const Node& node(NodeId id) const;
  [[nodiscard]] const TensorType& type(Value value) const;
  /// Operands in order; stays valid while the graph lives.
  [[nodiscard]] const std::vector<Value>& operands(NodeId id) const;
  /// Nodes that use any result of `id`, ascending, each once.
  [[nodiscard]] std::vector<NodeId> users(NodeId id) const;
  /// Outputs and updates in the order they were added.
  [[nodiscard]] std::span<const Result> results() const { return results_; }
  /// Ids of the input nodes, ascending.
  [[nodiscard]] std::span<const NodeId> inputs() const { return inputs_; }
  [[nodiscard]] std::optional<Value> find_input(std::string_view name) const;
  /// live[id]: some result depends on the node.
  [[nodiscard]] std::vector<bool> live() const;
  /// Hash of the live structure, results included, provenance excluded.
  [[nodiscard]] std::uint64_t hash() const;

  /// Nodes added from now on get this provenance.
  void set_provenance(Provenance provenance) { provenance_ = std::move(provenance); }
  [[nodiscard]] const Provenance& provenance() const { return provenance_; }
  void merge_provenance(NodeId id, const Provenance& provenance);

  [[nodiscard]] const GraphStructure& structure() const { return *structure_; }

 private:
  [[nodiscard]] std::optional<NodeId> find(const OpRecord& op, std::span<const Value> operands,
                                           const Attributes& attributes, std::uint64_t hash) const;
  NodeId append(Node node, std::span<const Value> operands, std::uint64_t hash);

  std::string name_;
  std::unique_ptr<GraphStructure> structure_;
  std::vector<Result> results_;
  std::vector<NodeId> inputs_;
  Provenance provenance_;
};

/// Whether the live parts have the same nodes in the same order and the same results. Provenance
/// does not count.
[[nodiscard]] bool same_structure(const Graph& a, const Graph& b);

/// Sets a graph's provenance for the lifetime of the scope.
class ProvenanceScope {
 public:
  ProvenanceScope(Graph& graph, Provenance provenance) : graph_(graph), saved_(graph.provenance()) {
    graph_.set_provenance(std::move(provenance));
  }
  ~ProvenanceScope() { graph_.set_provenance(std::move(saved_)); }
  ProvenanceScope(const ProvenanceScope&) = delete;
  ProvenanceScope& operator=(const ProvenanceScope&) = delete;

 private:
  Graph& graph_;
  Provenance saved_;
};

}  // namespace gradus::ir
