#include "passes/task_axes.h"

#include <algorithm>

#include "passes/access.h"
#include "passes/repeat_contractions.h"

namespace gradus::passes {
namespace {

using ir::NodeId;

/// Whether `candidate` is among the axes kept, whose cut it takes; not where cuts differ.
bool keeps(const std::vector<ParallelAxis>& kept, ParallelAxis& candidate) {
  const auto at = std::ranges::find(kept, candidate.axis, &ParallelAxis::axis);
  if (at == kept.end()) return false;
  if (!candidate.cut) candidate.cut = at->cut;
  return !at->cut || *at->cut == *candidate.cut;
}

/// Whether the axis is among `count` axes of the contraction from number `first` on.
bool is_among(const Group& group, NodeId contraction, int axis, std::size_t first,
              std::size_t count) {
  const auto begin = group.axes.at(contraction).begin() + static_cast<std::ptrdiff_t>(first);
  const auto end = begin + static_cast<std::ptrdiff_t>(count);
  return std::find(begin, end, axis) != end;
}

}  // namespace

bool is_row(const ir::Graph& graph, const Group& group, NodeId contraction, int axis) {
  const ContractionCounts counts = contraction_counts(graph, contraction);
  return is_among(group, contraction, axis, counts.batch, counts.rows);
}

bool is_column(const ir::Graph& graph, const Group& group, NodeId contraction, int axis) {
  const ContractionCounts counts = contraction_counts(graph, contraction);
  return is_among(group, contraction, axis, counts.batch + counts.rows, counts.columns);
}

std::vector<ParallelAxis> TaskAxes::of(const Group& group) const {
  const NodeId first = group.roots.front();
  std::vector<ParallelAxis> parallel = kept_axes(first, group.axes.at(first));
  std::ranges::sort(parallel, {}, &ParallelAxis::axis);
  for (NodeId id : group.roots) {
    if (parallel.empty()) return parallel;
    const std::vector<ParallelAxis> kept = kept_axes(id, group.axes.at(id));
    std::erase_if(parallel, [&](ParallelAxis& candidate) {
      return !keeps(kept, candidate) || crosses_tasks(group, id, candidate.axis);
    });
  }
  std::erase_if(parallel, [&](const ParallelAxis& candidate) {
    return is_whole_in_tasks(group, candidate.axis);
  });
  return parallel;
}

/// Domain axes that `id` keeps, with the cut where it is a block sum's.
std::vector<ParallelAxis> TaskAxes::kept_axes(NodeId id, const std::vector<int>& axes) const {
  const Iteration& iteration = root_[id]->iteration;
  std::vector<ParallelAxis> kept;
  for (int slot : iteration.result_slot) {
    if (slot >= 0 && axes[static_cast<std::size_t>(slot)] >= 0) {
      kept.push_back({axes[static_cast<std::size_t>(slot)], std::nullopt});
    }
  }
  if (iteration.block_slot >= 0) {
    kept.push_back({axes[static_cast<std::size_t>(iteration.block_slot)], block_cut(graph_, id)});
  }
  return kept;
}

bool TaskAxes::is_whole_in_tasks(const Group& group, int axis) const {
  bool row = false;
  bool column = false;
  for (NodeId id : group.roots) {
    if (!is_contraction(graph_, id)) continue;
    row = row || is_row(graph_, group, id, axis);
    if (!is_column(graph_, group, id, axis)) continue;
    if (!fits_task(graph_, id)) return false;
    column = true;
  }
  return row && column;
}

/// Whether `id` needs what another task along the axis computes or updates.
bool TaskAxes::crosses_tasks(const Group& group, NodeId id, int axis) const {
  return !in_place_stays_local(group, id, axis) ||
         std::ranges::any_of(root_[id]->roots, [&](const Read& read) {
           return group.axes.contains(read.value) && !same_position(group, id, read, axis);
         });
}

/// Reader `id` needs only the reader's own position of `axis`.
bool TaskAxes::same_position(const Group& group, NodeId id, const Read& read, int axis) const {
  const std::vector<int>& slots = root_[read.value]->iteration.result_slot;
  for (std::size_t a = 0; a < read.slots.size(); ++a) {
    if (slots[a] < 0) continue;
    if (group.axes.at(read.value)[static_cast<std::size_t>(slots[a])] != axis) continue;
    return read.slots[a] >= 0 && group.axes.at(id)[static_cast<std::size_t>(read.slots[a])] == axis;
  }
  return true;  // a value without the axis is excluded where kept_axes is asked
}

/// If `id` reads a state whose update in place is in the group, it reads the task's own part.
bool TaskAxes::in_place_stays_local(const Group& group, NodeId id, int axis) const {
  for (const Read& read : root_[id]->leaves) {
    const std::optional<NodeId> update = updated_by_[read.value];
    if (!update || !group.axes.contains(*update)) continue;
    const std::vector<int>& writer = group.axes.at(*update);
    for (std::size_t a = 0; a < read.slots.size(); ++a) {
      const int slot = root_[*update]->iteration.result_slot[a];
      if (slot < 0 || writer[static_cast<std::size_t>(slot)] != axis) continue;
      if (read.slots[a] < 0) return false;
      if (group.axes.at(id)[static_cast<std::size_t>(read.slots[a])] != axis) return false;
    }
  }
  return true;
}

}  // namespace gradus::passes
