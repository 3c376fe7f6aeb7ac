#include "passes/inner_batch.h"

#include <algorithm>
#include <set>

#include "passes/judge_group.h"
#include "passes/sum_tiles.h"

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;

/// A task keeps so many bytes: as large as half of the right operand, and within L2.
constexpr std::int64_t kLeastTaskBytes = 512 * 1024;
constexpr std::int64_t kMostTaskBytes = 1536 * 1024;
/// More tasks are only overhead.
constexpr std::int64_t kMostTasks = 1024;
/// Bytes of the right operand read again for every byte that is neither written nor read.
constexpr std::int64_t kMostRepetition = 3;

std::int64_t right_bytes(const Graph& graph, NodeId contraction) {
  return graph.type(graph.operands(contraction)[1]).byte_size();
}

}  // namespace

bool batch_inside(const Graph& graph, const Group& group, NodeId contraction) {
  const std::vector<int>& axes = group.axes.at(contraction);
  const auto in_tasks = [&](int axis) {
    return std::ranges::find(group.parallel, axis, &ParallelAxis::axis) != group.parallel.end();
  };
  const std::size_t batch = contraction_counts(graph, contraction).batch;
  return std::any_of(axes.begin(), axes.begin() + static_cast<std::ptrdiff_t>(batch),
                     [&](int axis) { return axis >= 0 && !in_tasks(axis); });
}

std::int64_t batch_tasks(const Graph& graph, const Group& group, NodeId contraction) {
  std::int64_t bytes = 0;
  for (NodeId id : group.roots) bytes += graph.node(id).types[0].byte_size();
  const std::int64_t kept =
      std::clamp(right_bytes(graph, contraction) / 2, kLeastTaskBytes, kMostTaskBytes);
  std::int64_t positions = 1;
  for (const ParallelAxis& axis : group.parallel) {
    positions *= group.extents[static_cast<std::size_t>(axis.axis)];
  }
  return std::min(std::clamp(bytes / kept, kLeastTasks, kMostTasks), positions);
}

bool repeats_right_operand(const Graph& graph, const std::map<NodeId, Root>& roots,
                           const Group& group, NodeId contraction) {
  if (!batch_inside(graph, group, contraction)) return false;
  if (makes_operand(graph, group, contraction, 1)) return false;
  std::int64_t saved = 0;
  std::set<NodeId> inside;
  for (NodeId id : group.roots) {
    for (const Read& read : roots.at(id).roots) {
      if (group.axes.contains(read.value) && inside.insert(read.value).second) {
        saved += 2 * graph.node(read.value).types[0].byte_size();
      }
    }
  }
  return batch_tasks(graph, group, contraction) * right_bytes(graph, contraction) >
         kMostRepetition * saved;
}

}  // namespace gradus::passes
