#include "passes/turn_contractions.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "ir/half_plane.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/access.h"
#include "passes/fuse.h"
#include "passes/repeat_contractions.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Graph;
using ir::Integers;
using ir::NodeId;

/// What fits a cache may as well be kept.
constexpr std::int64_t kLeastBytes = 1 << 20;
/// Fewer tasks would keep workers waiting.
constexpr std::int64_t kLeastContractionTasks = 16;

struct Side {
  Integers batch;
  Integers contracted;
};
Side side_of(const Graph& graph, NodeId dot, std::size_t operand) {
  const ir::Attributes& attributes = graph.node(dot).attributes;
  const std::string name = operand == 0 ? "lhs" : "rhs";
  return {attributes.get<Integers>(name + "_batch"), attributes.get<Integers>(name + "_contract")};
}

/// Whether a side is a matrix, or one for each index of leading batch axes, and its axis number
/// `axis` from the end is contracted.
bool contracts(const Graph& graph, NodeId dot, std::size_t operand, std::int64_t axis) {
  const std::int64_t rank = graph.type(graph.operands(dot)[operand]).rank();
  const Side side = side_of(graph, dot, operand);
  Integers leading(side.batch.size());
  std::iota(leading.begin(), leading.end(), 0);
  return rank == std::ssize(side.batch) + 2 && side.batch == leading &&
         side.contracted == Integers{rank - axis};
}

/// A contraction of one matrix with another: its result is one too.
bool multiplies_matrices(const Graph& graph, NodeId id) {
  if (!is_dot(graph, id)) return false;
  for (const std::size_t operand : {0u, 1u}) {
    if (!contracts(graph, id, operand, 1) && !contracts(graph, id, operand, 2)) return false;
  }
  return true;
}

/// Which values are made of results of short sums, and what needs them.
class Matrices {
 public:
  explicit Matrices(const Graph& graph) : graph_(graph), makers_(graph.size()) {
    const std::vector<bool> live = graph.live();
    for (NodeId id = 0; id < graph.size(); ++id) {
      if (live[id]) visit(id);
    }
    for (const ir::Result& result : graph.results()) spoil(result.value.node);
  }

  [[nodiscard]] bool is_made(NodeId id) const { return !makers_[id].empty(); }
  [[nodiscard]] bool is_maker(NodeId id) const { return makers_[id].contains(id); }

  /// The operand, if any, that a contraction wants with rows and columns exchanged.
  [[nodiscard]] std::optional<std::size_t> turned_operand(NodeId id) const {
    for (const std::size_t operand : {0u, 1u}) {
      if (!may_turn(id, operand)) continue;
      const std::set<NodeId>& makers = makers_[graph_.operands(id)[operand].node];
      if (std::ranges::none_of(makers, [&](NodeId m) { return spoiled_.contains(m); })) {
        return operand;
      }
    }
    return std::nullopt;
  }

 private:
  void visit(NodeId id) {
    if (multiplies_matrices(graph_, id) && is_cheap_to_repeat(graph_, id) &&
        (is_large(id) || fits_task(graph_, id))) {
      makers_[id].insert(id);
    }
    const bool elementwise =
        std::holds_alternative<ir::ElementwiseComputation>(graph_.node(id).op->compute);
    for (std::size_t i = 0; i < graph_.operands(id).size(); ++i) {
      const NodeId from = graph_.operands(id)[i].node;
      if (!is_made(from)) continue;
      if (elementwise) {
        makers_[id].insert(makers_[from].begin(), makers_[from].end());
      } else if (!reads_rows(id, i) && !may_turn(id, i)) {
        spoil(from);
      }
    }
  }

  void spoil(NodeId id) { spoiled_.insert(makers_[id].begin(), makers_[id].end()); }

  /// Whether a kernel of `id` can do with rows of the operand.
  [[nodiscard]] bool reads_rows(NodeId id, std::size_t operand) const {
    if (is_dot(graph_, id)) return operand == 0 && contracts(graph_, id, operand, 1);
    const std::int64_t last = graph_.type(graph_.operands(id)[operand]).rank() - 1;
    return std::holds_alternative<ir::ReductionComputation>(graph_.node(id).op->compute) &&
           reduced_axes(graph_, id) == Integers{last};
  }

  [[nodiscard]] bool may_turn(NodeId id, std::size_t operand) const {
    if (!multiplies_matrices(graph_, id) || !contracts(graph_, id, operand, 2)) return false;
    const std::vector<ir::Value>& operands = graph_.operands(id);
    return is_made(operands[operand].node) && !is_made(operands[1 - operand].node);
  }

  /// Large enough to be worth it, with columns enough to be rows of tasks.
  [[nodiscard]] bool is_large(NodeId id) const {
    const TensorType& type = graph_.node(id).types[0];
    std::int64_t tasks = std::max<std::int64_t>(1, type.shape.back() / kLeastTaskRows);
    for (std::int64_t axis = 0; axis + 2 < type.rank(); ++axis) {
      tasks *= type.shape[static_cast<std::size_t>(axis)];
    }
    return type.byte_size() >= kLeastBytes && tasks >= kLeastContractionTasks;
  }

  const Graph& graph_;
  std::vector<std::set<NodeId>> makers_;  // of each value that is made, the contractions
  std::set<NodeId> spoiled_;              // makers whose results, or what is made of them, are kept
};

Expr exchange_axes(Expr x) {
  Integers permutation(static_cast<std::size_t>(x.rank()));
  std::iota(permutation.begin(), permutation.end(), 0);
  std::swap(permutation.back(), permutation[permutation.size() - 2]);
  return ir::transpose(x, permutation);
}

/// The contraction with its operands, given in the new graph, exchanged: the result is too.
Expr exchanged(const Graph& graph, NodeId id, std::span<const Expr> operands) {
  const Side lhs = side_of(graph, id, 0);
  const Side rhs = side_of(graph, id, 1);
  const ir::Attributes& attributes = graph.node(id).attributes;
  std::optional<ir::HalfPlane> counted = ir::half_plane(attributes);
  if (counted) counted = counted->exchanged();
  return ir::dot(operands[1], operands[0], {rhs.batch, lhs.batch, rhs.contracted, lhs.contracted},
                 ir::part_rule(attributes), counted);
}

/// Makes what is turned in the new graph, each once.
class Turned {
 public:
  explicit Turned(const Matrices& matrices) : matrices_(matrices) {}

  /// Notes the values of the new graph.
  void note(const ir::RewriteContext& c) {
    for (std::size_t i = 0; i < c.operands.size(); ++i) {
      values_[c.from.operands(c.id)[i]] = c.operands[i];
    }
  }

  /// The contraction `c` with its operand `operand` turned.
  Expr contract(const ir::RewriteContext& c, std::size_t operand) {
    const Side side = side_of(c.from, c.id, operand);
    const Side other = side_of(c.from, c.id, 1 - operand);
    const Expr matrix = turned(c.from, c.from.operands(c.id)[operand]);
    std::optional<ir::HalfPlane> counted = ir::half_plane(c.node.attributes);
    if (counted && operand == 1) counted = counted->exchanged();
    const Expr result = ir::dot(matrix, c.operands[1 - operand],
                                {side.batch, other.batch, {matrix.rank() - 1}, other.contracted},
                                ir::part_rule(c.node.attributes), counted);
    return operand == 0 ? result : exchange_axes(result);
  }

 private:
  Expr turned(const Graph& graph, ir::Value value) {
    if (const auto known = turned_.find(value); known != turned_.end()) return known->second;
    return turned_.emplace(value, make(graph, value)).first->second;
  }

  Expr make(const Graph& graph, ir::Value value) {
    const NodeId id = value.node;
    const ir::Node& node = graph.node(id);
    if (!matrices_.is_made(id)) {
      const Expr same = values_.at(value);
      return same.rank() == 0 ? same : exchange_axes(same);
    }
    std::vector<Expr> operands;
    if (matrices_.is_maker(id)) {
      for (const ir::Value& operand : graph.operands(id)) operands.push_back(values_.at(operand));
      const ir::ProvenanceScope scope(*operands[0].graph, node.provenance);
      return exchanged(graph, id, operands);
    }
    for (const ir::Value& operand : graph.operands(id)) operands.push_back(turned(graph, operand));
    const ir::ProvenanceScope scope(*operands[0].graph, node.provenance);
    return ir::apply(node.op->name, operands, node.attributes);
  }

  const Matrices& matrices_;
  std::map<ir::Value, Expr> values_;
  std::map<ir::Value, Expr> turned_;
};

}  // namespace

Graph turn_contractions(const Graph& graph) {
  const Matrices matrices(graph);
  Turned turned(matrices);
  return ir::rewrite(graph, [&](const ir::RewriteContext& c) -> std::optional<Expr> {
    turned.note(c);
    const std::optional<std::size_t> operand = matrices.turned_operand(c.id);
    if (!operand) return std::nullopt;
    if (fits_task(graph, graph.operands(c.id)[*operand].node)) {
      if (*operand == 0) return std::nullopt;
      return exchange_axes(exchanged(graph, c.id, c.operands));
    }
    return turned.contract(c, *operand);
  });
}

}  // namespace gradus::passes
