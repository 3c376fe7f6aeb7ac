#pragma once

// The loops of a fusion group: its axes, which loop computes which root, tasks, and the tile.

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "codegen/contraction_choice.h"
#include "codegen/kernel.h"
#include "codegen/target.h"
#include "ir/graph.h"
#include "passes/access.h"
#include "passes/fuse.h"

namespace gradus::codegen {

/// The order in which a loop runs its axes; the last one is the vector axis.
using AxisOrder = std::vector<AxisId>;

/// The axes of a contraction by their part, outermost first.
struct ContractionAxes {
  std::vector<AxisId> batch;
  std::vector<AxisId> rows;  // at least one
  AxisId n = 0;
  std::vector<AxisId> k;  // at least one

  [[nodiscard]] AxisId m() const { return rows.back(); }
};

class GroupLoops {
 public:
  /// Fills the axes, tasks and tile of `kernel`; everything given outlives this. `choose` decides
  /// how a contraction runs.
  GroupLoops(const ir::Graph& graph, const passes::FusionPlan& plan, const passes::Group& group,
             const Target& target, const Chooser& choose, Kernel& kernel);

  /// The group's contraction, if it has one.
  [[nodiscard]] std::optional<ir::NodeId> contraction() const { return contraction_; }
  /// Unit axes are made where a part has no axis of extent > 1.
  [[nodiscard]] ContractionAxes contraction_axes();
  /// How the contraction could run, in its longest task.
  [[nodiscard]] const std::vector<Candidate>& considered() const { return considered_; }
  [[nodiscard]] std::size_t chosen() const { return chosen_; }
  [[nodiscard]] const ContractionChoice& choice() const { return considered_.at(chosen_).choice; }
  /// Where operand `side` of the contraction lies: the value, and its index there.
  [[nodiscard]] std::pair<ir::NodeId, std::vector<Affine>> operand_index(std::size_t side) const;

  /// Where root `id` is computed: level 0 is the contraction with its epilogue, the loops that make
  /// its left operand have levels below, all others levels from 1. Levels run in ascending order.
  [[nodiscard]] int level(ir::NodeId id) const { return levels_.at(id); }
  /// How the loop of root `id` likes to run: kept axes, then reduced ones, then the innermost
  /// operand axis as vector axis - unless a sum along it is one chain. Kept axes along which much
  /// is read again stand before the last reduced axis.
  [[nodiscard]] AxisOrder preferred_order(ir::NodeId id);

  [[nodiscard]] bool in_group(ir::NodeId id) const { return group_.axes.contains(id); }
  [[nodiscard]] bool is_light(ir::NodeId id) const;
  [[nodiscard]] bool is_output(ir::NodeId id) const { return outputs_.contains(id); }
  /// Roots that are written to memory or scratch.
  [[nodiscard]] bool needs_memory(ir::NodeId id) const {
    return is_output(id) || stored_.contains(id);
  }

  [[nodiscard]] const passes::Iteration& iteration(ir::NodeId id) const {
    return iterations_.at(id);
  }
  /// Axes of root `id`'s iteration; -1: extent 1.
  [[nodiscard]] const std::vector<int>& axes_of(ir::NodeId id) const { return group_.axes.at(id); }
  [[nodiscard]] std::int64_t extent(AxisId axis) const {
    return kernel_.axes[static_cast<std::size_t>(axis)].extent;
  }
  /// Index of root `id`'s own memory at the current point of its loop; of a tile op, at the first
  /// element of the tile.
  [[nodiscard]] std::vector<Affine> own_index(ir::NodeId id);
  /// The same for each element that a point computes: a tile's are several.
  [[nodiscard]] std::vector<std::vector<Affine>> own_indices(ir::NodeId id);
  /// Whether tasks or tiles cut the axis, and its greatest range in them.
  [[nodiscard]] bool is_local(AxisId axis) const;
  [[nodiscard]] std::int64_t local_extent(AxisId axis) const;

 private:
  void make_axes();
  AxisId unit_axis(std::size_t which = 0);
  AxisId block_axis(AxisId axis);

  [[nodiscard]] bool same_point(ir::NodeId reader, const passes::Read& read) const;
  [[nodiscard]] std::set<int> box(ir::NodeId id) const;
  void find_prologue();
  void assign_levels();
  [[nodiscard]] bool reads_leaf(ir::NodeId id, ir::NodeId leaf) const;
  [[nodiscard]] int level_of(ir::NodeId id) const;
  [[nodiscard]] bool reads_only_accumulator(ir::NodeId id) const;
  [[nodiscard]] bool level_shares_loop(ir::NodeId reader, ir::NodeId value) const;
  [[nodiscard]] bool repeats_reads(AxisId axis) const;
  [[nodiscard]] bool repeats_reads(ir::NodeId id, AxisId axis) const;
  [[nodiscard]] bool is_chain(ir::NodeId id, AxisId axis, const std::set<int>& kept) const;

  void make_tasks();
  [[nodiscard]] std::int64_t wanted_tasks() const;
  [[nodiscard]] ir::Cut free_cut(AxisId axis, std::int64_t wanted);
  [[nodiscard]] bool is_vector_axis(AxisId axis);
  [[nodiscard]] std::int64_t epilogue_bytes() const;
  [[nodiscard]] bool epilogue_waits() const;
  [[nodiscard]] std::int64_t task_extent(AxisId axis) const;
  void find_stored();
  [[nodiscard]] ContractionBox contraction_box();
  [[nodiscard]] std::optional<Tile> tile();

  const ir::Graph& graph_;
  const passes::FusionPlan& plan_;
  const passes::Group& group_;
  const Target& target_;
  Kernel& kernel_;
  std::map<ir::NodeId, passes::Iteration> iterations_;
  std::set<ir::NodeId> outputs_;
  std::optional<ir::NodeId> contraction_;
  std::set<ir::NodeId> prologue_;  // roots that the contraction's left operand is made of
  std::map<ir::NodeId, int> levels_;
  std::set<ir::NodeId> stored_;  // roots that live in scratch
  std::map<std::size_t, AxisId> unit_axes_;
  std::vector<Candidate> considered_;
  std::size_t chosen_ = 0;
};

}  // namespace gradus::codegen
