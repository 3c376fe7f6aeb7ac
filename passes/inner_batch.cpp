#include "passes/inner_batch.h"

#include <algorithm>
#include <set>

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;

/// A task keeps so many bytes: as large as half of the right operand, and within L2.
constexpr std::int64_t kLeastTaskBytes = 512 * 1024;
constexpr std::int64_t kMostTaskBytes = 1536 * 1024;
/// Fewer tasks keep workers waiting, more are only overhead.
constexpr std::int64_t kLeastTasks = 8;
constexpr std::int64_t kMostTasks = 1024;
/// Bytes of the right operand read again for every byte that is neither written nor read.
constexpr std::int64_t kMostRepetition = 3;

/// Operands of so many bytes are made at a time, or as many as there are sums.
constexpr std::int64_t kOperandBytes = 512 * 1024;

bool makes_operand(const Graph& graph, const Group& group, NodeId contraction, std::size_t side) {
  const NodeId operand = graph.operands(contraction)[side].node;
  return group.axes.contains(memory_of(graph, operand_read(graph, operand).node));
}

/// Positions of an axis in the longest task.
std::int64_t task_positions(const Group& group, int axis) {
  const std::int64_t extent = group.extents[static_cast<std::size_t>(axis)];
  const auto task = std::ranges::find(group.parallel, axis, &ParallelAxis::axis);
  if (task == group.parallel.end()) return extent;
  const std::int64_t tasks = task->cut ? task->cut->count : extent;
  return (extent + tasks - 1) / tasks;
}

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

std::optional<SumTiles> sum_tiles(const Graph& graph, const Group& group, NodeId contraction) {
  for (const std::size_t side : {0U, 1U}) {
    if (!makes_operand(graph, group, contraction, side)) return std::nullopt;
  }
  const std::vector<int>& axes = group.axes.at(contraction);
  const ContractionCounts counts = contraction_counts(graph, contraction);
  std::int64_t sums = byte_size(graph.node(contraction).types[0].element);
  for (std::size_t i = 0; i + counts.contracted < axes.size(); ++i) {
    if (axes[i] >= 0) sums *= task_positions(group, axes[i]);
  }
  std::int64_t operands = 0;  // bytes for one position of the contracted axes so far
  for (NodeId id : group.roots) {
    if (id != contraction) operands += graph.node(id).types[0].byte_size();
  }
  for (std::size_t i = axes.size() - counts.contracted; i < axes.size(); ++i) {
    if (axes[i] < 0) continue;
    operands /= group.extents[static_cast<std::size_t>(axes[i])];
    const std::int64_t positions = task_positions(group, axes[i]);
    if (positions == 1) continue;
    const std::int64_t room = std::min(std::max(sums, kOperandBytes), kMostTaskBytes - sums);
    if (operands > kMostTaskBytes - sums) return std::nullopt;
    return SumTiles{axes[i], std::clamp<std::int64_t>(room / operands, 1, positions)};
  }
  return std::nullopt;
}

}  // namespace gradus::passes
