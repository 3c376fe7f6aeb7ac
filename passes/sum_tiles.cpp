#include "passes/sum_tiles.h"

#include <algorithm>

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;

/// Sums and operands of a task together: within L2.
constexpr std::int64_t kMostTaskBytes = 1536 * 1024;
/// Operands of so many bytes are made at a time, or as many as there are sums.
constexpr std::int64_t kOperandBytes = 512 * 1024;

/// Positions of an axis in the longest task: parts are tasks enough, other axes stay whole.
std::int64_t task_positions(const Group& group, int axis) {
  const std::int64_t extent = group.extents[static_cast<std::size_t>(axis)];
  const auto task = std::ranges::find(group.parallel, axis, &ParallelAxis::axis);
  if (task == group.parallel.end()) return extent;
  return task->cut ? (extent + task->cut->count - 1) / task->cut->count : extent;
}

}  // namespace

bool makes_operand(const Graph& graph, const Group& group, NodeId contraction, std::size_t side) {
  const NodeId operand = graph.operands(contraction)[side].node;
  return group.axes.contains(memory_of(graph, operand_read(graph, operand).node));
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
    return SumTiles{axes[i], std::clamp<std::int64_t>(room / std::max<std::int64_t>(operands, 1), 1,
                                                      positions)};
  }
  return std::nullopt;
}

}  // namespace gradus::passes
