// How GroupLoops cuts its group's axes into tasks: by shapes alone, so that tasks are the same on
// every machine.

#include <algorithm>

#include "codegen/caches.h"
#include "codegen/group_loops.h"
#include "codegen/schedule.h"
#include "ir/order.h"
#include "passes/inner_batch.h"
#include "passes/roots.h"

namespace gradus::codegen {

using ir::NodeId;

namespace {

struct Heuristics {
  std::int64_t elements_per_task = 8192;       // of a loop ...
  std::int64_t instructions_per_element = 64;  // ... whose elements cost no more
  std::int64_t operations_per_task = 1 << 20;  // of a contraction ...
  std::int64_t weights_per_task = 32 * 1024;   // ... whose few rows do not wait for those of rhs
  std::int64_t maximum_tasks = 64;
  // Tasks that are parts of a contraction, sum up whole rows, or would read the same again, are cut
  // no further, and fewer ones into so many, which read less of lhs again.
  std::int64_t enough_parts = 8;
  std::int64_t tasks_of_parts = 12;
  // A contraction's tasks are blocks of its result whose columns are not fewer. What a task reads
  // of rhs comes row by row and is waited for more.
  std::int64_t block_columns = 256;
  std::int64_t rhs_weight = 2;
  std::int64_t column_unit = 64;
  std::int64_t row_unit = 4;   // rows that draw their random words together
  std::int64_t few_rows = 16;  // of a task, where columns are too few to be cut
  // Kernels in the body of a loop cut their rows alike, so that a worker need not wait for others:
  // into so many tasks of so many rows each, unless there are fewer rows.
  std::int64_t loop_tasks = 8;
  std::int64_t loop_rows = 8;
};
constexpr Heuristics kHeuristics;

std::int64_t nearest(std::int64_t work, std::int64_t per_task) {
  return (work + per_task / 2) / per_task;
}

}  // namespace

std::optional<ir::Cut> rows_in_loop(std::int64_t rows) {
  if (rows < kHeuristics.loop_tasks * kHeuristics.row_unit) return std::nullopt;
  const std::int64_t count =
      std::clamp(rows / kHeuristics.loop_rows, kHeuristics.loop_tasks, kHeuristics.maximum_tasks);
  return ir::Cut{rows, count, kHeuristics.row_unit};
}

void GroupLoops::make_tasks() {
  std::vector<passes::ParallelAxis> axes = group_.parallel;
  // Cuts that sums depend on first; then the outermost.
  std::stable_sort(axes.begin(), axes.end(), [](const auto& a, const auto& b) {
    return a.cut.has_value() > b.cut.has_value();
  });
  if (const std::optional<TaskAxis> rows = loop_rows(axes)) {
    kernel_.tasks.push_back(*rows);
    return;
  }
  std::int64_t wanted = wanted_tasks();
  const bool whole_rows = last_ && epilogue_waits();
  const bool sums = !axes.empty() && axes.front().cut;
  const auto is_free = [&](AxisId axis) {
    return std::ranges::any_of(
        axes, [&](const passes::ParallelAxis& other) { return other.axis == axis && !other.cut; });
  };
  for (const passes::ParallelAxis& axis : axes) {
    if (axis.cut) {
      kernel_.tasks.push_back({axis.axis, *axis.cut});
      wanted = std::max<std::int64_t>(1, wanted / axis.cut->count);
      if (last_) {
        wanted = (kHeuristics.tasks_of_parts + axis.cut->count - 1) / axis.cut->count;
        if (axis.cut->count >= kHeuristics.enough_parts) wanted = 1;
      }
    } else if (kernel_.task_count() >= kHeuristics.enough_parts &&
               (last_ ? whole_rows && axis.axis == contraction_axes(*last_).n
                      : repeats_reads(axis.axis) || (sums && is_vector_axis(axis.axis)))) {
      continue;
    } else if (wanted > 1 || (kernel_.tasks.empty() && axis.axis == axes.back().axis)) {
      const bool block = last_ && !whole_rows && axis.axis == contraction_axes(*last_).m() &&
                         is_free(contraction_axes(*last_).n);
      const std::int64_t columns = block ? column_tasks(wanted) : 1;
      const ir::Cut cut = free_cut(axis.axis, (wanted + columns - 1) / columns);
      kernel_.tasks.push_back({axis.axis, cut});
      wanted = std::max<std::int64_t>(columns, wanted / cut.count);
    }
  }
  if (kernel_.tasks.empty() && !axes.empty()) {
    kernel_.tasks.push_back({axes[0].axis, {extent(axes[0].axis), 1, 1}});
  }
  std::sort(kernel_.tasks.begin(), kernel_.tasks.end(),
            [](const TaskAxis& a, const TaskAxis& b) { return a.axis < b.axis; });
}

/// In the body of a loop: the rows, cut as other kernels of the body cut them. None where a task
/// would read more again than a second cache keeps from one iteration to the next.
std::optional<TaskAxis> GroupLoops::loop_rows(const std::vector<passes::ParallelAxis>& axes) {
  if (loop_length_ == 1 || axes.empty() || axes.front().cut) return std::nullopt;
  const AxisId rows = axes.front().axis;
  const std::optional<ir::Cut> cut = rows_in_loop(extent(rows));
  if (!cut || is_vector_axis(rows)) return std::nullopt;
  std::int64_t again = 0;
  for (NodeId id : contractions_) {
    if (contraction_axes(id).m() != rows) return std::nullopt;
    again += graph_.type(graph_.operands(id)[1]).byte_size();
  }
  return again > kSecondCache ? std::nullopt : std::optional(TaskAxis{rows, *cut});
}

std::int64_t GroupLoops::wanted_tasks() {
  std::int64_t elements = 0;
  std::int64_t work = 0;  // instructions for all elements of all roots
  for (NodeId id : group_.roots) {
    const std::int64_t own = element_count(iterations_.at(id).extents);
    elements = std::max(elements, own);
    work += own * instructions(id);
  }
  if (last_ && passes::batch_inside(graph_, group_, *last_)) {
    return passes::batch_tasks(graph_, group_, *last_);
  }
  std::int64_t wanted = nearest(2 * elements, kHeuristics.operations_per_task);
  if (last_) {
    const std::int64_t rows = extent(contraction_axes(*last_).m());
    const std::int64_t weights = elements / std::max<std::int64_t>(rows, 1);
    wanted = std::max(wanted, weights / kHeuristics.weights_per_task);
  } else {
    wanted = nearest(std::max(work, kHeuristics.instructions_per_element * elements),
                     kHeuristics.instructions_per_element * kHeuristics.elements_per_task);
  }
  return std::clamp<std::int64_t>(wanted, 1, kHeuristics.maximum_tasks);
}

std::int64_t GroupLoops::instructions(NodeId root) const {
  const auto in_memory = [&](NodeId id) {
    return plan_.roots.contains(id) || passes::access_of(graph_, id) != passes::Access::light;
  };
  passes::ProgramCosts costs(graph_);
  std::vector<NodeId> operands;
  for (ir::Value operand : graph_.operands(root)) operands.push_back(operand.node);
  const std::int64_t own = is_light(root) ? costs.of(root) : 0;
  return own + passes::chain_cost(graph_, costs, std::move(operands), in_memory);
}

/// Per element of the root that costs most.
std::int64_t GroupLoops::instructions() const {
  std::int64_t most = 0;
  for (NodeId id : group_.roots) most = std::max(most, instructions(id));
  return most;
}

/// Into how many ranges the columns of the last contraction are cut if all its rows and columns
/// are cut into `wanted` blocks that read as little again as possible: each reads its rows of lhs
/// and its columns of rhs.
std::int64_t GroupLoops::column_tasks(std::int64_t wanted) {
  const ContractionAxes roles = contraction_axes(*last_);
  const std::int64_t most = std::min(wanted, extent(roles.n) / kHeuristics.block_columns);
  std::int64_t best = 1;
  std::int64_t least = 0;
  for (std::int64_t columns = 1; columns <= most; ++columns) {
    const std::int64_t rows = (wanted + columns - 1) / columns;
    const std::int64_t read =
        kHeuristics.rhs_weight * rows * extent(roles.n) + columns * extent(roles.m());
    if (columns == 1 || read < least) {
      best = columns;
      least = read;
    }
  }
  return best;
}

/// A cut that no sum depends on.
ir::Cut GroupLoops::free_cut(AxisId axis, std::int64_t wanted) {
  const std::int64_t length = extent(axis);
  const auto any = [&](auto&& holds) {
    return std::ranges::any_of(contractions_,
                               [&](NodeId id) { return holds(contraction_axes(id)); });
  };
  if (any([&](const ContractionAxes& roles) { return roles.n == axis; })) {
    // Few columns are better than one task; other axes have had their turn.
    const bool only = kernel_.task_count() == 1;
    const std::int64_t least = only ? kHeuristics.column_unit : passes::kLeastTaskColumns;
    const std::int64_t most = std::max<std::int64_t>(1, length / least);
    return {length, std::min(wanted, most), kHeuristics.column_unit};
  }
  if (any([&](const ContractionAxes& roles) { return roles.m() == axis; })) {
    const bool few_columns = any([&](const ContractionAxes& roles) {
      return roles.m() == axis && extent(roles.n) < 2 * kHeuristics.column_unit;
    });
    const std::int64_t least = few_columns ? kHeuristics.few_rows : passes::kLeastTaskRows;
    const std::int64_t most = std::max<std::int64_t>(1, length / least);
    return {length, std::min(wanted, most), kHeuristics.row_unit};
  }
  if (is_vector_axis(axis)) {
    const std::int64_t most = std::max<std::int64_t>(1, length / passes::kLeastTaskLanes);
    return {length, std::min(wanted, most), ir::kLanes};
  }
  // Equal shares, since the longest is waited for; smaller ones if that makes them equal.
  const std::int64_t most = std::max<std::int64_t>(1, length / std::max<std::int64_t>(1, wanted));
  std::int64_t share = most;
  while (2 * share > most && length % share != 0) --share;
  if (length % share != 0) share = most;
  return {length, (length + share - 1) / share, 1};
}

bool GroupLoops::is_vector_axis(AxisId axis) {
  return std::any_of(group_.roots.begin(), group_.roots.end(), [&](NodeId id) {
    return !passes::is_contraction(graph_, id) && preferred_order(id).back() == axis;
  });
}

}  // namespace gradus::codegen
