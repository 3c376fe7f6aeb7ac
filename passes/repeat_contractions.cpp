#include "passes/repeat_contractions.h"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/access.h"
#include "passes/roots.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Graph;
using ir::NodeId;

/// So many products are made in the time in which their sum is written and read again.
constexpr std::int64_t kMostProducts = 128;
/// Less is not worth a copy.
constexpr std::int64_t kLeastBytes = 64 * 1024;
/// Fewer would keep workers waiting; of larger ones a task could not keep several.
constexpr std::int64_t kLeastMatrices = 16;
constexpr std::int64_t kMostMatrixBytes = 64 * 1024;

/// A contraction with what is made of it, element by element, before its first user among
/// contractions is complete.
class Repetition {
 public:
  Repetition(const Graph& graph, const std::vector<bool>& live, NodeId contraction)
      : graph_(graph), kept_(graph.size()), late_(graph.size()) {
    kept_[contraction] = true;
    for (NodeId id = contraction + 1; id < graph.size(); ++id) {
      if (live[id]) visit(id);
    }
    for (const ir::Result& result : graph.results()) {
      possible_ = possible_ && !kept_[memory_of(graph, result.value.node)];
    }
  }

  /// Whether anybody gets a copy, and the first user can then be alone with the original.
  [[nodiscard]] bool worth() const { return possible_ && user_ && repeated_; }
  [[nodiscard]] bool is_kept(NodeId id) const { return kept_[id]; }
  [[nodiscard]] bool is_late(NodeId id) const { return late_[id]; }

 private:
  void visit(NodeId id) {
    bool reads = false;
    for (ir::Value operand : graph_.operands(id)) {
      late_[id] = late_[id] || late_[operand.node] || operand.node == user_;
      reads = reads || kept_[operand.node];
    }
    if (!reads) return;
    if (late_[id]) {
      repeated_ = true;
      return;
    }
    switch (access_of(graph_, id)) {
      case Access::leaf:
        return;
      case Access::alias:
      case Access::light:
        kept_[id] = true;
        return;
      case Access::heavy:
        visit_heavy(id);
    }
  }

  /// The first user reads rows that its kernel can make; before it there are only sums along rows.
  void visit_heavy(NodeId id) {
    if (std::holds_alternative<ir::ReductionComputation>(graph_.node(id).op->compute)) {
      const std::int64_t last = graph_.type(graph_.operands(id)[0]).rank() - 1;
      possible_ = possible_ && reduced_axes(graph_, id) == ir::Integers{last};
      return;
    }
    if (user_ || !is_dot(graph_, id) || kept_[graph_.operands(id)[1].node]) {
      possible_ = false;
      return;
    }
    user_ = id;
  }

  const Graph& graph_;
  std::vector<bool> kept_;  // the contraction and what is light between it and its users
  std::vector<bool> late_;  // needs the first user
  std::optional<NodeId> user_;
  bool possible_ = true;
  bool repeated_ = false;  // a late node reads what is kept
};

/// Makes the copies in the new graph, each when it is first wanted.
class Copies {
 public:
  explicit Copies(const Repetition& repetition) : repetition_(repetition) {}

  /// Notes the operands, in the new graph, of a node that may be copied.
  void note(const ir::RewriteContext& c) {
    if (repetition_.is_kept(c.id)) operands_[c.id] = {c.operands.begin(), c.operands.end()};
  }
  /// Gives a late node copies for operands; whether there are any.
  bool exchange(const ir::RewriteContext& c, std::vector<Expr>& operands) {
    bool any = false;
    for (std::size_t i = 0; i < operands.size() && repetition_.is_late(c.id); ++i) {
      const NodeId from = c.from.operands(c.id)[i].node;
      if (!repetition_.is_kept(from)) continue;
      operands[i] = copy(c.from, from);
      any = true;
    }
    return any;
  }

 private:
  Expr copy(const Graph& graph, NodeId id) {
    if (const auto known = copies_.find(id); known != copies_.end()) return known->second;
    std::vector<Expr> operands = operands_.at(id);
    for (std::size_t i = 0; i < operands.size(); ++i) {
      const NodeId from = graph.operands(id)[i].node;
      if (repetition_.is_kept(from)) operands[i] = copy(graph, from);
    }
    ir::Attributes attributes = graph.node(id).attributes;
    if (is_dot(graph, id)) attributes.set("copy", attributes.get<std::int64_t>("copy") + 1);
    return copies_.emplace(id, ir::apply(graph.node(id).op->name, operands, attributes))
        .first->second;
  }

  const Repetition& repetition_;
  std::map<NodeId, std::vector<Expr>> operands_;
  std::map<NodeId, Expr> copies_;
};

}  // namespace

bool is_cheap_to_repeat(const Graph& graph, NodeId id) {
  if (!is_dot(graph, id)) return false;
  std::int64_t operands = 0;
  for (ir::Value operand : graph.operands(id)) {
    const TensorType& type = graph.type(operand);
    if (!operand_read(graph, operand.node).distinct(type.shape)) return false;
    operands += type.byte_size();
  }
  std::int64_t products = 1;
  const TensorType& lhs = graph.type(graph.operands(id)[0]);
  for (std::int64_t axis : graph.node(id).attributes.get<ir::Integers>("lhs_contract")) {
    products *= lhs.shape[static_cast<std::size_t>(axis)];
  }
  const std::int64_t bytes = graph.node(id).types[0].byte_size();
  return bytes >= std::max(operands, kLeastBytes) && products <= kMostProducts;
}

bool fits_task(const Graph& graph, NodeId matrices) {
  const TensorType& type = graph.node(matrices).types[0];
  if (type.rank() < 3) return false;
  std::int64_t count = 1;
  for (std::int64_t axis = 0; axis + 2 < type.rank(); ++axis) {
    count *= type.shape[static_cast<std::size_t>(axis)];
  }
  return count >= kLeastMatrices && type.byte_size() <= count * kMostMatrixBytes;
}

Graph repeat_contractions(const Graph& graph) {
  const std::vector<bool> live = graph.live();
  std::vector<Repetition> repetitions;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id] || !is_cheap_to_repeat(graph, id)) continue;
    Repetition repetition(graph, live, id);
    if (repetition.worth()) repetitions.push_back(std::move(repetition));
  }
  std::vector<Copies> copies(repetitions.begin(), repetitions.end());
  return ir::rewrite(graph, [&](const ir::RewriteContext& c) -> std::optional<Expr> {
    std::vector<Expr> operands(c.operands.begin(), c.operands.end());
    bool any = false;
    for (Copies& of : copies) {
      of.note(c);
      any = of.exchange(c, operands) || any;
    }
    if (!any) return std::nullopt;
    return ir::apply(c.node.op->name, operands, c.node.attributes);
  });
}

}  // namespace gradus::passes
