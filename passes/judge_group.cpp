#include "passes/judge_group.h"

#include <algorithm>
#include <set>

#include "ir/op.h"
#include "passes/inner_batch.h"
#include "passes/sum_tiles.h"
#include "passes/task_axes.h"

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;

// The same on every machine: tasks are part of the plan.
struct Heuristics {
  /// A contraction that loses tasks by growing keeps at least this many.
  std::int64_t least_contraction_tasks = 16;
  /// A group may run as one task while its loops have no more positions than this.
  std::int64_t small_positions = 4096;
  /// What one position of the parallel axes may keep in scratch: half of a small L2 cache.
  std::int64_t scratch_bytes = 256 * 1024;
  /// With several contractions, all of what its stages make: nearly half of an L2 cache of 1 MiB.
  std::int64_t matrix_bytes = 448 * 1024;
  /// A kernel has at most 64 axes, those of blocks and of one position included.
  std::size_t axes = 24;
};
constexpr Heuristics kHeuristics;

/// Positions of the parallel axes.
std::int64_t positions(const Group& group) {
  std::int64_t count = 1;
  for (const ParallelAxis& axis : group.parallel) {
    count *= group.extents[static_cast<std::size_t>(axis.axis)];
  }
  return count;
}

bool is_transpose(const Graph& graph, NodeId id) {
  return graph.node(id).op == &ir::op("transpose");
}

}  // namespace

GroupJudge::GroupJudge(const Graph& graph, const std::map<NodeId, Root>& roots,
                       const std::map<NodeId, NodeId>& in_place)
    : graph_(graph), roots_(roots), in_place_(in_place) {
  std::map<NodeId, int> readers;
  for (const auto& [id, root] : roots) {
    for (const Read& read : root.roots) ++readers[read.value];
  }
  for (const ir::Result& result : graph.results()) {
    ++readers[memory_of(graph, result.value.node)];
  }
  for (const auto& [id, root] : roots) {
    if (!is_transpose(graph, id)) continue;
    for (const Read& read : root.roots) {
      if (is_contraction(graph, read.value) && readers.at(read.value) == 1) {
        transposed_.insert(read.value);
      }
    }
  }
}

std::string GroupJudge::refusal(const Group& merged, const Group& a, const Group& b) const {
  if (merged.extents.size() > kHeuristics.axes) return "too many axes";
  if (contraction_reads_update(merged)) return "an operand that is updated in place";
  const std::vector<NodeId> contractions = contractions_of(merged);
  if (contractions.size() > 1 && !keeps_large_sums(merged)) return "two contractions";
  if (makes_twice(merged)) return "made again for another kernel";
  if (cuts_rows_and_columns(merged)) return "rows of one contraction are columns of another";
  if (merged.parallel.empty() && work(merged) == 0) return "";
  for (NodeId id : merged.roots) {
    const int slot = roots_.at(id).iteration.block_slot;
    if (slot < 0) continue;
    const int axis = merged.axes.at(id)[static_cast<std::size_t>(slot)];
    if (std::none_of(merged.parallel.begin(), merged.parallel.end(),
                     [&](const ParallelAxis& p) { return p.axis == axis; })) {
      return "a task cannot hold whole sum blocks";
    }
  }
  const bool small = work(merged) <= kHeuristics.small_positions;
  const std::int64_t tasks = most_tasks(merged);
  if (!small && tasks < std::max(most_tasks(a), most_tasks(b)) && tasks < kLeastTasks) {
    return "too little would be left to run in parallel";
  }
  for (const Group* part : {&a, &b}) {
    const std::int64_t left = contraction_tasks(merged);
    if (left < contraction_tasks(*part) && left < kHeuristics.least_contraction_tasks) {
      return "too few tasks would be left for the contraction";
    }
  }
  for (const Group* part : {&a, &b}) {
    for (NodeId own : contractions_of(*part)) {
      if (sum_tiles(graph_, *part, own) && !sum_tiles(graph_, merged, own)) {
        return "what a task keeps would not fit the cache";
      }
    }
  }
  for (NodeId contraction : contractions) {
    const bool again = contractions.size() > 1
                           ? batch_inside(graph_, merged, contraction)
                           : repeats_right_operand(graph_, roots_, merged, contraction);
    if (again) return "the right operand would be read too often";
  }
  const std::int64_t most =
      contractions.size() > 1 ? kHeuristics.matrix_bytes : kHeuristics.scratch_bytes;
  if (!small && scratch_bytes(merged, positions(merged)) > most) {
    return "what a task keeps would not fit the cache";
  }
  return "";
}

/// An update in place that the group's contractions read, which must come after other readers.
bool GroupJudge::contraction_reads_update(const Group& group) const {
  return std::ranges::any_of(contractions_of(group), [&](NodeId contraction) {
    return std::ranges::any_of(needed_by(group, contraction),
                               [&](NodeId id) { return in_place_.contains(id); });
  });
}

/// How many tasks a group can be cut in: the axis that a loop runs in vectors is cut coarsely.
std::int64_t GroupJudge::most_tasks(const Group& group) const {
  std::int64_t count = 1;
  for (const ParallelAxis& axis : group.parallel) {
    const std::int64_t extent = group.extents[static_cast<std::size_t>(axis.axis)];
    const bool vector = std::ranges::any_of(group.roots, [&](NodeId id) {
      const std::vector<int>& axes = group.axes.at(id);
      return !is_contraction(graph_, id) && !axes.empty() && axes.back() == axis.axis;
    });
    count *= vector ? std::max<std::int64_t>(1, extent / kLeastTaskLanes) : extent;
  }
  return count;
}

std::int64_t GroupJudge::work(const Group& group) const {
  std::int64_t count = 0;
  for (NodeId id : group.roots) count += element_count(roots_.at(id).iteration.extents);
  return count;
}

std::vector<NodeId> GroupJudge::contractions_of(const Group& group) const {
  std::vector<NodeId> result;
  std::ranges::copy_if(group.roots, std::back_inserter(result),
                       [&](NodeId id) { return is_contraction(graph_, id); });
  return result;
}

/// Whether every contraction either makes what others in the group need, and not only transpose,
/// and more than it reads, or needs what another one makes: what lies between is worth keeping.
bool GroupJudge::keeps_large_sums(const Group& group) const {
  std::set<NodeId> makers;
  std::set<NodeId> users;
  for (NodeId user : group.roots) {
    if (is_transpose(graph_, user)) continue;
    for (NodeId id : needed_by(group, user)) {
      if (!is_contraction(graph_, id)) continue;
      makers.insert(id);
      users.insert(user);
    }
  }
  return std::ranges::all_of(contractions_of(group), [&](NodeId id) {
    return makers.contains(id) ? makes_more(id) : users.contains(id);
  });
}

/// Whether two contractions of the group are the same sums (passes/repeat_contractions.h).
bool GroupJudge::makes_twice(const Group& group) const {
  const std::vector<NodeId> all = contractions_of(group);
  const auto same = [&](NodeId a, NodeId b) {
    if (!is_dot(graph_, a) || !is_dot(graph_, b)) return false;
    ir::Attributes others = graph_.node(b).attributes;
    others.set("copy", graph_.node(a).attributes.get<std::int64_t>("copy"));
    return graph_.operands(a) == graph_.operands(b) && graph_.node(a).attributes == others;
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = i + 1; j < all.size(); ++j) {
      if (same(all[i], all[j])) return true;
    }
  }
  return false;
}

/// Whether tasks have whole rows of one contraction and parts of the rows of another: what the
/// second one needs of its right operand would be little used.
bool GroupJudge::cuts_rows_and_columns(const Group& group) const {
  const std::vector<NodeId> contractions = contractions_of(group);
  return std::ranges::any_of(group.parallel, [&](const ParallelAxis& axis) {
    const auto is = [&](const auto& among) {
      return std::ranges::any_of(contractions,
                                 [&](NodeId id) { return among(graph_, group, id, axis.axis); });
    };
    return is(is_row) && is(is_column);
  });
}

/// Whether a contraction's result is no smaller than its operands.
bool GroupJudge::makes_more(NodeId contraction) const {
  std::int64_t operands = 0;
  for (ir::Value operand : graph_.operands(contraction)) {
    operands += graph_.type(operand).byte_size();
  }
  return graph_.node(contraction).types[0].byte_size() >= operands;
}

bool GroupJudge::may_hold(const Group& a, const Group& b) const {
  std::vector<NodeId> contractions = contractions_of(a);
  std::ranges::copy(contractions_of(b), std::back_inserter(contractions));
  return contractions.size() < 2 ||
         std::ranges::any_of(contractions, [&](NodeId id) { return makes_more(id); });
}

/// Roots of the group that `id` is made of.
std::set<NodeId> GroupJudge::needed_by(const Group& group, NodeId id) const {
  std::set<NodeId> needed;
  std::vector<NodeId> open{id};
  while (!open.empty()) {
    const NodeId next = open.back();
    open.pop_back();
    for (const Read& read : roots_.at(next).roots) {
      if (group.axes.contains(read.value) && needed.insert(read.value).second) {
        open.push_back(read.value);
      }
    }
  }
  return needed;
}

/// How many tasks the contractions can be cut in, the least of them; 0 without one.
std::int64_t GroupJudge::contraction_tasks(const Group& group) const {
  std::int64_t least = 0;
  for (NodeId id : contractions_of(group)) {
    const std::int64_t tasks = contraction_tasks(group, id);
    least = least == 0 ? tasks : std::min(least, tasks);
  }
  return least;
}

std::int64_t GroupJudge::contraction_tasks(const Group& group, NodeId id) const {
  const ContractionCounts counts = contraction_counts(graph_, id);
  const std::vector<int>& axes = group.axes.at(id);
  const std::size_t n = counts.batch + counts.rows;
  std::int64_t tasks = 1;
  for (const ParallelAxis& axis : group.parallel) {
    const std::int64_t extent = group.extents[static_cast<std::size_t>(axis.axis)];
    const bool row = n > 0 && axes[n - 1] == axis.axis;
    const bool column = n < axes.size() && axes[n] == axis.axis;
    const std::int64_t least = row ? kLeastTaskRows : column ? kLeastTaskColumns : 1;
    tasks *= axis.cut ? axis.cut->count : std::max<std::int64_t>(1, extent / least);
  }
  return tasks;
}

/// Bytes of what the roots make per position of the parallel axes.
std::int64_t GroupJudge::scratch_bytes(const Group& group, std::int64_t positions) const {
  std::int64_t bytes = 0;
  for (NodeId id : group.roots) {
    if (transposed_.contains(id)) continue;
    bytes += graph_.node(id).types[0].byte_size() / std::max<std::int64_t>(positions, 1);
  }
  return bytes;
}

}  // namespace gradus::passes
