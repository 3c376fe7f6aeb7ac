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
  /// how a contraction runs, and the graph is the body of a loop of `loop_length`, or 1.
  GroupLoops(const ir::Graph& graph, const passes::FusionPlan& plan, const passes::Group& group,
             const Target& target, const Chooser& choose, std::int64_t loop_length, Kernel& kernel);

  /// Unit axes are made where a part has no axis of extent > 1.
  [[nodiscard]] ContractionAxes contraction_axes(ir::NodeId contraction);
  /// How the last contraction, if there is one, could run in its longest task, and does.
  [[nodiscard]] const std::vector<Candidate>& considered() const { return considered_; }
  [[nodiscard]] std::size_t chosen() const { return chosen_; }
  [[nodiscard]] const ContractionChoice& choice(ir::NodeId contraction) const {
    return choices_.at(contraction);
  }
  /// Where operand `side` of a contraction lies: the value, and its index there.
  [[nodiscard]] std::pair<ir::NodeId, std::vector<Affine>> operand_index(ir::NodeId contraction,
                                                                         std::size_t side) const;

  /// Where root `id` is computed. Levels run in ascending order; in one level contractions come
  /// first. What a contraction needs comes before all that none needs.
  [[nodiscard]] int level(ir::NodeId id) const { return places_.at(id).level; }
  /// The contraction in whose stage `id` is computed: itself, or the one whose sums its epilogue
  /// has in registers.
  [[nodiscard]] std::optional<ir::NodeId> stage_of(ir::NodeId id) const {
    return places_.at(id).contraction;
  }
  /// How the loop of root `id` likes to run: kept axes, then reduced ones, then the innermost
  /// operand axis as vector axis - unless a sum along it is one chain. Kept axes along which much
  /// is read again stand before the last reduced axis.
  [[nodiscard]] AxisOrder preferred_order(ir::NodeId id);

  [[nodiscard]] bool in_group(ir::NodeId id) const { return group_.axes.contains(id); }
  [[nodiscard]] bool is_light(ir::NodeId id) const;
  [[nodiscard]] bool is_output(ir::NodeId id) const { return outputs_.contains(id); }
  /// Roots that are written to memory or scratch.
  [[nodiscard]] bool needs_memory(ir::NodeId id) const {
    return is_output(id) || stored_.contains(id) || parts_.contains(id);
  }
  /// The output of the group that has root `id` as a part, and where element `index` of the part is
  /// in it; none: it is no part.
  [[nodiscard]] std::optional<std::pair<ir::NodeId, std::vector<Affine>>> place_in_whole(
      ir::NodeId id, const std::vector<Affine>& index) const;
  /// Whether root `id` is nothing but its parts, which are stored in its memory.
  [[nodiscard]] bool is_assembled(ir::NodeId id) const { return assembled_.contains(id); }

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
  struct Place {
    int level = 0;
    std::optional<ir::NodeId> contraction;
  };
  [[nodiscard]] std::set<ir::NodeId> made_for_contractions() const;
  void assign_places();
  void place_all(const std::map<ir::NodeId, int>& least);
  [[nodiscard]] Place place_of(ir::NodeId id, int first) const;
  [[nodiscard]] std::optional<ir::NodeId> epilogue_of(ir::NodeId id) const;
  [[nodiscard]] bool same_loop(ir::NodeId a, ir::NodeId b) const;
  [[nodiscard]] bool share_order(ir::NodeId a, ir::NodeId b) const;
  [[nodiscard]] bool reads_leaf(ir::NodeId id, ir::NodeId leaf) const;
  [[nodiscard]] bool reads_only_overwritten(ir::NodeId id, ir::NodeId update,
                                            ir::NodeId state) const;
  [[nodiscard]] bool repeats_reads(AxisId axis) const;
  [[nodiscard]] bool repeats_reads(ir::NodeId id, AxisId axis) const;
  [[nodiscard]] bool is_chain(ir::NodeId id, AxisId axis, const std::set<int>& kept) const;

  void make_tasks();
  [[nodiscard]] std::optional<TaskAxis> loop_rows(const std::vector<passes::ParallelAxis>& axes);
  [[nodiscard]] std::int64_t wanted_tasks();
  [[nodiscard]] std::int64_t instructions() const;
  [[nodiscard]] std::int64_t instructions(ir::NodeId root) const;
  [[nodiscard]] std::int64_t column_tasks(std::int64_t wanted);
  [[nodiscard]] ir::Cut free_cut(AxisId axis, std::int64_t wanted);
  [[nodiscard]] bool is_vector_axis(AxisId axis);
  [[nodiscard]] std::int64_t epilogue_bytes(ir::NodeId contraction) const;
  [[nodiscard]] bool epilogue_waits() const;
  [[nodiscard]] std::int64_t task_extent(AxisId axis) const;
  void find_parts();
  [[nodiscard]] bool may_be_part(ir::NodeId id, ir::NodeId whole) const;
  void find_stored();
  void choose_contractions(const Chooser& choose);
  [[nodiscard]] ContractionBox contraction_box(ir::NodeId contraction);
  [[nodiscard]] std::optional<Tile> tile();
  [[nodiscard]] std::int64_t bytes_read(AxisId axis) const;
  [[nodiscard]] std::int64_t points_per_row(AxisId axis) const;

  const ir::Graph& graph_;
  const passes::FusionPlan& plan_;
  const passes::Group& group_;
  const Target& target_;
  std::int64_t loop_length_;
  Kernel& kernel_;
  std::map<ir::NodeId, passes::Iteration> iterations_;
  std::set<ir::NodeId> outputs_;
  std::vector<ir::NodeId> contractions_;  // ascending
  std::optional<ir::NodeId> last_;        // of them, which decides tasks
  std::set<ir::NodeId> rewritten_;  // what cannot be made again once an update in place is written
  std::map<ir::NodeId, Place> places_;
  struct PartOf {
    ir::NodeId whole = 0;
    std::vector<Affine> index;  // in the whole, by the part's axes
  };
  std::map<ir::NodeId, PartOf> parts_;
  std::set<ir::NodeId> assembled_;
  std::set<ir::NodeId> stored_;  // roots that live in scratch
  std::map<std::size_t, AxisId> unit_axes_;
  std::map<ir::NodeId, ContractionChoice> choices_;
  std::vector<Candidate> considered_;
  std::size_t chosen_ = 0;
};

}  // namespace gradus::codegen
