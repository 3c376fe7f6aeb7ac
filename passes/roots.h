#pragma once

// The graph seen by fusion: roots, and which root reads which through light values.

#include <map>
#include <set>
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
  bool through_view = false;
};

struct Root {
  Iteration iteration;
  std::vector<Read> roots;   // other roots that it reads, each relation once
  std::vector<Read> leaves;  // inputs and tensor constants that it reads
};

/// The roots of the live part of `graph` by node, ascending. The light nodes `also` are roots too;
/// with `every_op` each elementwise node is one.
[[nodiscard]] std::map<ir::NodeId, Root> find_roots(const ir::Graph& graph, bool every_op,
                                                    const std::set<ir::NodeId>& also = {});

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
};
[[nodiscard]] OperandRead operand_read(const ir::Graph& graph, ir::NodeId id);

}  // namespace gradus::passes
