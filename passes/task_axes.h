#pragma once

// Which axes of a fusion group tasks may be cut along.

#include <optional>
#include <vector>

#include "ir/graph.h"
#include "passes/fuse.h"

namespace gradus::passes {

/// Whether the domain axis is among the rows, or the columns, of the contraction's result.
[[nodiscard]] bool is_row(const ir::Graph& graph, const Group& group, ir::NodeId contraction,
                          int axis);
[[nodiscard]] bool is_column(const ir::Graph& graph, const Group& group, ir::NodeId contraction,
                             int axis);

class TaskAxes {
 public:
  /// Everything given outlives this: by node, its root (null: none), and the update in place of the
  /// state that it is.
  TaskAxes(const ir::Graph& graph, const std::vector<const Root*>& root,
           const std::vector<std::optional<ir::NodeId>>& updated_by)
      : graph_(graph), root_(root), updated_by_(updated_by) {}

  /// The axes that every root keeps and along which no read crosses tasks; none where the cuts of
  /// block sums contradict each other. Columns of matrices that fit a task are left out if they are
  /// rows of another contraction, too: a task has them all.
  [[nodiscard]] std::vector<ParallelAxis> of(const Group& group) const;

 private:
  [[nodiscard]] std::vector<ParallelAxis> kept_axes(ir::NodeId id,
                                                    const std::vector<int>& axes) const;
  [[nodiscard]] bool crosses_tasks(const Group& group, ir::NodeId id, int axis) const;
  [[nodiscard]] bool in_place_stays_local(const Group& group, ir::NodeId id, int axis) const;
  [[nodiscard]] bool same_position(const Group& group, ir::NodeId id, const Read& read,
                                   int axis) const;
  [[nodiscard]] bool is_whole_in_tasks(const Group& group, int axis) const;

  const ir::Graph& graph_;
  const std::vector<const Root*>& root_;
  const std::vector<std::optional<ir::NodeId>>& updated_by_;
};

}  // namespace gradus::passes
