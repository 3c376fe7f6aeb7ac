#include "ir/reverse_mode.h"

#include <algorithm>
#include <limits>
#include <map>

#include "ir/op.h"

namespace gradus::ir {
namespace {

/// needed[id]: the node depends on a wanted value.
std::vector<bool> depends_on(const Graph& graph, std::span<const Expr> wanted, NodeId last) {
  std::vector<bool> needed(std::size_t{last} + 1);
  for (Expr x : wanted) {
    if (x.value.node <= last) needed[x.value.node] = true;
  }
  for (NodeId id = 0; id <= last; ++id) {
    for (Value operand : graph.operands(id)) {
      if (needed[operand.node]) needed[id] = true;
    }
  }
  return needed;
}

bool is_zero(const Node& node) {
  if (node.op->name != "constant") return false;
  return std::ranges::all_of(node.attributes.get<TensorPointer>("value")->bytes,
                             [](std::byte byte) { return byte == std::byte{0}; });
}

/// What a cotangent is at positions [begin, end) of one axis; it is 0 at all others.
struct Piece {
  Expr value;
  std::int64_t axis = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// The piece that `part` is padded from, if it is one: the cotangent of a slice.
std::optional<Piece> piece_of(Expr part) {
  const Graph& graph = *part.graph;
  const Node& node = graph.node(part.value.node);
  if (node.op->name != "pad" || !is_zero(graph.node(graph.operands(part.value.node)[1].node))) {
    return std::nullopt;
  }
  const auto& low = node.attributes.get<Integers>("low");
  const auto& high = node.attributes.get<Integers>("high");
  const auto& interior = node.attributes.get<Integers>("interior");
  Piece piece{{part.graph, graph.operands(part.value.node)[0]}, -1};
  for (std::size_t axis = 0; axis < low.size(); ++axis) {
    if (interior[axis] != 0 || low[axis] < 0 || high[axis] < 0) return std::nullopt;
    if (low[axis] == 0 && high[axis] == 0) continue;
    if (piece.axis >= 0) return std::nullopt;
    piece.axis = static_cast<std::int64_t>(axis);
    piece.begin = low[axis];
    piece.end = low[axis] + piece.value.shape()[axis];
  }
  return piece.axis < 0 ? std::nullopt : std::optional(piece);
}

/// The parts one after another, if they are pieces that fill their type without overlap.
std::optional<Expr> side_by_side(std::span<const Expr> parts) {
  std::vector<Piece> pieces;
  for (Expr part : parts) {
    const std::optional<Piece> piece = piece_of(part);
    if (!piece || piece->axis != (pieces.empty() ? *piece : pieces[0]).axis) return std::nullopt;
    pieces.push_back(*piece);
  }
  std::ranges::sort(pieces, {}, &Piece::begin);
  std::vector<Expr> values;
  std::int64_t end = 0;
  for (const Piece& piece : pieces) {
    if (piece.begin != end) return std::nullopt;
    end = piece.end;
    values.push_back(piece.value);
  }
  const std::int64_t axis = pieces[0].axis;
  if (end != parts[0].shape()[static_cast<std::size_t>(axis)]) return std::nullopt;
  return concat(values, axis);
}

Expr sum_of(std::span<const Expr> parts) {
  if (parts.size() > 1) {
    if (const std::optional<Expr> whole = side_by_side(parts)) return *whole;
  }
  Expr sum = parts[0];
  for (Expr part : parts.subspan(1)) sum = sum + part;
  return sum;
}

constexpr NodeId kSeeded = std::numeric_limits<NodeId>::max();  // after all users

class ReverseMode {
 public:
  ReverseMode(Graph& graph, std::span<const Seed> seeds, std::span<const Expr> wanted)
      : graph_(graph) {
    NodeId last = 0;
    for (const Seed& seed : seeds) {
      parts_[seed.y.value][kSeeded].push_back(seed.dy);
      last = std::max(last, seed.y.value.node);
    }
    needed_ = depends_on(graph, wanted, last);
    for (NodeId id = last + 1; id-- > 0;) visit(id);
  }

  [[nodiscard]] std::optional<Expr> of(Value value) const {
    const auto found = found_.find(value);
    return found == found_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  void visit(NodeId id) {
    const auto begin = parts_.lower_bound({id, 0});
    if (begin == parts_.end() || begin->first.node != id) return;
    const OpRecord& op = *graph_.node(id).op;
    const ProvenanceScope scope(graph_, graph_.node(id).provenance.with_role(Role::backward));
    std::vector<std::optional<Expr>> dys(graph_.node(id).types.size());
    for (auto own = begin; own != parts_.end() && own->first.node == id; ++own) {
      std::vector<Expr> parts;
      for (const auto& [user, list] : own->second) {
        parts.insert(parts.end(), list.begin(), list.end());
      }
      found_[own->first] = *(dys[own->first.result] = sum_of(parts));
    }
    std::vector<Expr> x;
    for (Value operand : graph_.operands(id)) x.push_back({&graph_, operand});
    const bool between = std::ranges::any_of(x, [&](Expr e) { return needed_[e.value.node]; });
    if (!op.vjp || !between) return;
    const Attributes attributes = graph_.node(id).attributes;
    const Cotangents found =
        op.vjp({x, {&graph_, {id, 0}}, dys[0].value_or(Expr{}), attributes, dys});
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!found[i] || !needed_[x[i].value.node]) continue;
      GRADUS_CHECK(found[i]->type() == x[i].type(),
                   "the gradient of " + std::string(op.name) + " has another type");
      parts_[x[i].value][id].push_back(*found[i]);
    }
  }

  Graph& graph_;
  std::vector<bool> needed_;
  /// By value, the cotangents by user: ascending users, then operand order.
  std::map<Value, std::map<NodeId, std::vector<Expr>>> parts_;
  std::map<Value, Expr> found_;
};

}  // namespace

std::vector<std::optional<Expr>> cotangents(Graph& graph, std::span<const Seed> seeds,
                                            std::span<const Expr> wanted) {
  const ReverseMode reverse_mode(graph, seeds, wanted);
  std::vector<std::optional<Expr>> result;
  for (Expr x : wanted) result.push_back(reverse_mode.of(x.value));
  return result;
}

}  // namespace gradus::ir
