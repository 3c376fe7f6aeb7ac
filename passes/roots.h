#pragma once

// The graph seen by fusion: roots, and which root reads which through light values.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "ir/graph.h"
#include "ir/index_map.h"
#include "passes/access.h"

namespace gradus::passes {

/// Result axis a of the value read runs along iteration axis slots[a] of the reader; kUnitAxis
/// where its extent is 1, kOtherIndex where the index is another function.
inline constexpr int kUnitAxis = -2;
inline constexpr int kOtherIndex = -1;

struct Read {
  ir::NodeId value = 0;  // a root, or a leaf
  std::vector<int> slots;
  bool through_view = false;  // or by index: nobody knows which elements
  friend bool operator==(const Read&, const Read&) = default;
};

struct Root {
  Iteration iteration;
  std::vector<Read> roots;   // other roots that it reads, each relation once
  std::vector<Read> leaves;  // inputs and tensor constants that it reads
  friend bool operator==(const Root&, const Root&) = default;
};

/// Finds the roots of the live part of a graph. What does not depend on the choice of further roots
/// is found once.
class RootFinder {
 public:
  /// With `every_op` each elementwise node is a root.
  RootFinder(const ir::Graph& graph, bool every_op, ProgramCosts& costs);

  /// The roots by node, ascending. The light nodes `also` are roots too.
  [[nodiscard]] std::map<ir::NodeId, Root> find(const std::set<ir::NodeId>& also = {});

 private:
  void mark(ir::NodeId id);
  void mark_few();
  [[nodiscard]] std::int64_t most_elements(ir::NodeId id) const;
  [[nodiscard]] Root root(ir::NodeId id);
  ir::NodeId walk_movement(ir::NodeId id, std::vector<int>& slots);
  void walk_operands(ir::NodeId id, const std::vector<int>& slots, Root& result);
  void walk(ir::NodeId id, std::vector<int> slots, bool through_view, Root& result);

  const ir::Graph& graph_;
  std::vector<Access> access_;
  std::vector<ir::NodeId> live_;
  std::vector<bool> always_;  // roots whatever else is one
  std::vector<bool> is_root_;
  ProgramCosts& costs_;
  std::vector<std::vector<ir::IndexMap>> maps_;  // of the operands of nodes walked through
  std::set<std::tuple<ir::NodeId, std::vector<int>, bool>> seen_;
};

/// Instructions per element that make `ids` of what `in_memory` says is there.
[[nodiscard]] std::int64_t chain_cost(const ir::Graph& graph, ProgramCosts& costs,
                                      std::vector<ir::NodeId> ids,
                                      const std::function<bool(ir::NodeId)>& in_memory);

/// The value in memory behind views.
[[nodiscard]] ir::NodeId memory_of(const ir::Graph& graph, ir::NodeId id);

/// Where a contraction or a tile op reads an operand: light movement of one operand that is inside
/// it everywhere is followed down to `node`, whose axis a is read at map[a], a function of the
/// operand's indices (without divisions; no term where the extent is 1).
struct OperandRead {
  ir::NodeId node = 0;
  ir::IndexMap map;
  /// Whether axes are only permuted, repeated, or dropped at extent 1.
  [[nodiscard]] bool permuted() const;
  /// Whether no element of `node` is read twice, but where it is repeated along whole axes of the
  /// operand, which has that shape.
  [[nodiscard]] bool distinct(const Shape& operand) const;
};
[[nodiscard]] OperandRead operand_read(const ir::Graph& graph, ir::NodeId id);

}  // namespace gradus::passes
