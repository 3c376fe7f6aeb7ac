#pragma once

// Fusion: which values of a graph are computed together, as a plan beside the graph.
//
// A *root* is a value with a stage of its own: every heavy node (reduction, block sum, combine,
// contraction), every result, and every light value that has to be in memory. All other light
// values are instances: each root that needs one computes it again inside its own loop, at the
// index it needs, and keeps it in a register.
//
// A *group* is a set of roots that one kernel computes. Its domain axes are the iteration axes of
// its roots, identified wherever one root reads another at the same position. A group is parallel
// along the domain axes that every root keeps: tasks are ranges of these, and no task needs what
// another computes. A contraction in parts first takes what makes both its operands, if nobody else
// needs that and a task keeps all of its sums (sum_tiles.h). Groups are then made greedily: each
// root in turn joins the groups of the roots it reads, latest first, while
//   - something remains to run in parallel (or the whole group is small),
//   - block sums keep their block axis, cut into their blocks (ir/order.h),
//   - what a task keeps between its stages fits the scratch budget,
//   - the groups stay acyclic, where an update in place comes after every reader of the old value.
// Afterwards groups without contraction that reduce a large value join each other, and then the
// group that has most reads in common with them: all sums and maps of a backward pass read their
// inputs once.
// Several contractions are in one group where one makes what others of the group need and that is no
// smaller than what it is made of, such as the scores of an attention; none whose rows are another
// one's columns, and none twice.
// Never inside one group: a combine and its block sums (all tasks must be complete), a contraction
// and its right operand's maker alone, a view or gather and what it reads, roots in an own order.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/order.h"
#include "passes/roots.h"

namespace gradus::passes {

/// Fewest rows and columns of a contraction's task: several register tiles.
inline constexpr std::int64_t kLeastTaskRows = 40;
inline constexpr std::int64_t kLeastTaskColumns = 128;
/// Positions of a vector axis that a task of a loop has at least.
inline constexpr std::int64_t kLeastTaskLanes = 64;

struct ParallelAxis {
  int axis = 0;                // a domain axis of the group
  std::optional<ir::Cut> cut;  // the blocks of a block sum
};

struct Group {
  std::vector<ir::NodeId> roots;      // ascending
  std::vector<ir::NodeId> outputs;    // the roots that are in memory afterwards, ascending
  std::vector<std::int64_t> extents;  // of the domain axes
  /// For each root the domain axis of every iteration axis (passes/access.h); -1: extent 1.
  std::map<ir::NodeId, std::vector<int>> axes;
  std::vector<ParallelAxis> parallel;  // outermost first; empty: one task
};

/// Why a root reads another from memory, or that it does not.
struct LedgerEntry {
  ir::NodeId producer = 0;
  ir::NodeId consumer = 0;
  bool fused = false;
  std::string reason;
  std::int64_t bytes = 0;  // of the producer: written and read when not fused
};

struct FusionPlan {
  std::map<ir::NodeId, Root> roots;
  std::vector<Group> groups;  // in an order of execution
  std::vector<LedgerEntry> ledger;
  /// Update values that take the memory of their state input: root -> input node.
  std::map<ir::NodeId, ir::NodeId> in_place;
};

struct FusionOptions {
  bool enabled = true;  // false: one group per op; movement stays an index of the loads
  bool store = true;    // keep what is dear to compute again (passes/stored_values.h)
};

/// Plans the fusion of the live part of `graph`, in which no sum has several blocks
/// (split_sums) and contractions are canonical (canonicalize_contractions).
[[nodiscard]] FusionPlan fuse(const ir::Graph& graph, const FusionOptions& options = {});

/// The groups, each scan's followed by what `inside` says of it, and the ledger as a table:
/// producer, consumer, fused or why not, bytes.
[[nodiscard]] std::string to_string(const FusionPlan& plan, const ir::Graph& graph,
                                    const std::function<std::string(ir::NodeId)>& inside = {});

}  // namespace gradus::passes
