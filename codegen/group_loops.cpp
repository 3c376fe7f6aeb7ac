#include "codegen/group_loops.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "codegen/body.h"
#include "codegen/caches.h"
#include "ir/op.h"
#include "ir/order.h"
#include "passes/inner_batch.h"
#include "passes/roots.h"
#include "passes/sum_tiles.h"

namespace gradus::codegen {

using ir::NodeId;
using passes::Iteration;

namespace {
// The heuristics of the tile.
struct Heuristics {
  std::int64_t row_unit = 4;                         // rows that draw their random words together
  std::int64_t tile_points = 4096;                   // of loops
  std::int64_t waiting_tile_points = 1024;           // of loops that wait for memory, ...
  std::int64_t waiting_instructions = 64;            // having at most so many to do meanwhile
  std::int64_t loop_scratch_bytes = 40 * 1024;       // of a tile without a contraction: within L1
  std::int64_t contract_scratch_bytes = 128 * 1024;  // of a tile with one: within L2
  std::int64_t maximum_tile_rows = 16;
};
constexpr Heuristics kHeuristics;

}  // namespace

GroupLoops::GroupLoops(const ir::Graph& graph, const passes::FusionPlan& plan,
                       const passes::Group& group, const Target& target, const Chooser& choose,
                       std::int64_t loop_length, Kernel& kernel)
    : graph_(graph),
      plan_(plan),
      group_(group),
      target_(target),
      loop_length_(loop_length),
      kernel_(kernel) {
  for (NodeId id : group_.roots) iterations_.emplace(id, passes::iteration_of(graph, id));
  outputs_.insert(group_.outputs.begin(), group_.outputs.end());
  for (NodeId id : group_.roots) {
    if (passes::is_contraction(graph_, id)) contractions_.push_back(id);
  }
  if (!contractions_.empty()) last_ = contractions_.back();
  make_axes();
  assign_places();
  make_tasks();
  find_parts();
  find_stored();
  if (last_) {
    if (const auto tiles = passes::sum_tiles(graph, group, *last_)) {
      kernel_.tile = Tile{tiles->axis, tiles->size};
    }
  }
  choose_contractions(choose);
  if (!kernel_.tile) kernel_.tile = tile();
}

// --- Axes ---------------------------------------------------------------------------------------

void GroupLoops::make_axes() {
  // Those of the last contraction are named b, m, n and k.
  const std::string_view letters = last_ ? "ijlpqrstuvw" : "ijklpqrstuvw";
  for (std::size_t axis = 0; axis < group_.extents.size(); ++axis) {
    const std::string name =
        axis < letters.size() ? std::string(1, letters[axis]) : fmt::format("a{}", axis);
    kernel_.axes.push_back({name, group_.extents[axis], -1});
  }
  if (!last_) return;
  const ContractionAxes roles = contraction_axes(*last_);
  const auto rename = [&](const std::vector<AxisId>& axes, char letter) {
    for (std::size_t i = 0; i < axes.size(); ++i) {
      std::string& name = kernel_.axes[static_cast<std::size_t>(axes[i])].name;
      name.assign(1, letter);
      if (axes.size() > 1) name += std::to_string(i);
    }
  };
  rename(roles.batch, 'b');
  rename(roles.rows, 'm');
  rename({roles.n}, 'n');
  rename(roles.k, 'k');
}

/// An axis of extent 1; `which` tells several apart.
AxisId GroupLoops::unit_axis(std::size_t which) {
  const auto [at, added] = unit_axes_.emplace(which, static_cast<AxisId>(kernel_.axes.size()));
  if (added) kernel_.axes.push_back({fmt::format("one{}", which), 1, -1});
  return at->second;
}

std::vector<Affine> GroupLoops::own_index(NodeId id) {
  std::vector<Affine> index;
  for (int slot : iterations_.at(id).result_slot) {
    AxisId axis = -1;
    if (slot >= 0) {
      axis = axes_of(id)[static_cast<std::size_t>(slot)];
    } else if (slot != passes::kTileSlot) {
      axis = block_axis(axes_of(id)[static_cast<std::size_t>(iterations_.at(id).block_slot)]);
    }
    index.push_back(axis < 0 ? Affine{} : Affine{{{axis, 1}}, 0, 1});
  }
  return index;
}

std::vector<std::vector<Affine>> GroupLoops::own_indices(NodeId id) {
  std::vector<std::vector<Affine>> indices{own_index(id)};
  const std::vector<int>& slots = iterations_.at(id).result_slot;
  for (std::size_t axis = 0; axis < slots.size(); ++axis) {
    if (slots[axis] != passes::kTileSlot) continue;
    std::vector<std::vector<Affine>> longer;
    for (const std::vector<Affine>& index : indices) {
      for (std::int64_t place = 0; place < graph_.node(id).types[0].shape[axis]; ++place) {
        longer.push_back(index);
        longer.back()[axis].offset = place;
      }
    }
    indices = std::move(longer);
  }
  return indices;
}

AxisId GroupLoops::block_axis(AxisId axis) {
  for (std::size_t i = 0; i < kernel_.axes.size(); ++i) {
    if (kernel_.axes[i].block_of == axis) return static_cast<AxisId>(i);
  }
  for (const TaskAxis& task : kernel_.tasks) {
    if (task.axis != axis) continue;
    const std::string name = kernel_.axes[static_cast<std::size_t>(axis)].name + "_block";
    kernel_.axes.push_back({name, task.cut.count, axis});
    return static_cast<AxisId>(kernel_.axes.size()) - 1;
  }
  GRADUS_CHECK(false, "a block sum's axis is not a task axis");
}

// --- Levels: which loop computes which root ------------------------------------------------------

bool GroupLoops::is_light(NodeId id) const {
  return passes::access_of(graph_, id) == passes::Access::light;
}

/// Root `reader` gets `read` in a register: same loop, same point.
bool GroupLoops::same_point(NodeId reader, const passes::Read& read) const {
  if (!is_light(reader) && !is_light(read.value)) return false;
  const std::vector<int>& theirs = axes_of(read.value);
  const std::vector<int>& slots = iterations_.at(read.value).result_slot;
  for (std::size_t a = 0; a < read.slots.size(); ++a) {
    const int axis = slots[a] < 0 ? -1 : theirs[static_cast<std::size_t>(slots[a])];
    if (read.slots[a] == passes::kUnitAxis) continue;
    if (read.slots[a] < 0) return false;
    if (axes_of(reader)[static_cast<std::size_t>(read.slots[a])] != axis) return false;
  }
  return box(reader) == box(read.value);
}

std::set<int> GroupLoops::box(NodeId id) const {
  std::set<int> axes(axes_of(id).begin(), axes_of(id).end());
  axes.erase(-1);
  if (passes::is_contraction(graph_, id)) {
    const std::size_t contracted = passes::contraction_counts(graph_, id).contracted;
    for (std::size_t i = axes_of(id).size() - contracted; i < axes_of(id).size(); ++i) {
      axes.erase(axes_of(id)[i]);
    }
  }
  return axes;
}

/// Contractions, and all roots that they need.
std::set<NodeId> GroupLoops::made_for_contractions() const {
  std::set<NodeId> made(contractions_.begin(), contractions_.end());
  std::vector<NodeId> open = contractions_;
  while (!open.empty()) {
    const NodeId id = open.back();
    open.pop_back();
    for (const passes::Read& read : plan_.roots.at(id).roots) {
      if (in_group(read.value) && made.insert(read.value).second) open.push_back(read.value);
    }
  }
  return made;
}

void GroupLoops::assign_places() {
  for (NodeId id : group_.roots) {
    const std::vector<passes::Read>& reads = plan_.roots.at(id).roots;
    if (is_light(id) &&
        (plan_.in_place.contains(id) || std::ranges::any_of(reads, [&](const passes::Read& read) {
           return rewritten_.contains(read.value);
         }))) {
      rewritten_.insert(id);
    }
  }
  std::map<NodeId, int> least;
  for (bool stable = false; !stable;) {
    stable = true;
    place_all(least);
    // What an update in place overwrites must have been read by every earlier loop.
    for (const auto& [update, state] : plan_.in_place) {
      if (!in_group(update)) continue;
      for (NodeId id : group_.roots) {
        if (id == update || !reads_leaf(id, state)) continue;
        const bool together = is_light(id) && is_light(update) && box(id) == box(update) &&
                              same_loop(id, update) && (stage_of(id) || share_order(id, update)) &&
                              reads_only_overwritten(id, update, state);
        const int after = level(id) + (together ? 0 : 1);
        if (level(update) < after) {
          least[update] = after;
          stable = false;
        }
      }
    }
  }
}

/// What contractions need first. A root that has to be later than `least` is not in an epilogue.
void GroupLoops::place_all(const std::map<NodeId, int>& least) {
  const std::set<NodeId> early = made_for_contractions();
  int first = 0;  // level of what none of them needs
  const auto place = [&](NodeId id, int from) {
    Place& here = places_[id] = place_of(id, from);
    const auto later = least.find(id);
    if (later != least.end() && later->second > here.level) here = {later->second, std::nullopt};
  };
  for (NodeId id : group_.roots) {
    if (!early.contains(id)) continue;
    place(id, 0);
    first = std::max(first, level(id) + 1);
  }
  for (NodeId id : group_.roots) {
    if (!early.contains(id)) place(id, first);
  }
}

bool GroupLoops::reads_leaf(NodeId id, NodeId leaf) const {
  const std::vector<passes::Read>& leaves = plan_.roots.at(id).leaves;
  return std::any_of(leaves.begin(), leaves.end(),
                     [&](const passes::Read& read) { return read.value == leaf; });
}

/// Whether a point of `id` reads of the state no element but the one that the same point of
/// `update` overwrites.
bool GroupLoops::reads_only_overwritten(NodeId id, NodeId update, NodeId state) const {
  const std::vector<int>& slots = iterations_.at(update).result_slot;
  const auto own_element = [&](const passes::Read& read) {
    for (std::size_t a = 0; a < read.slots.size(); ++a) {
      if (read.slots[a] == passes::kUnitAxis) continue;
      if (read.slots[a] < 0 || slots[a] < 0) return false;
      if (axes_of(id)[static_cast<std::size_t>(read.slots[a])] !=
          axes_of(update)[static_cast<std::size_t>(slots[a])]) {
        return false;
      }
    }
    return true;
  };
  return std::ranges::all_of(plan_.roots.at(id).leaves, [&](const passes::Read& read) {
    return read.value != state || own_element(read);
  });
}

/// The place of `id`, behind all that it reads; in a loop not before level `first`.
GroupLoops::Place GroupLoops::place_of(NodeId id, int first) const {
  if (const std::optional<NodeId> contraction = epilogue_of(id)) {
    return {level(*contraction), contraction};
  }
  Place place{first, std::nullopt};
  if (passes::is_contraction(graph_, id)) place.contraction = id;
  for (const passes::Read& read : plan_.roots.at(id).roots) {
    if (!in_group(read.value)) continue;
    const bool in_register = !place.contraction && !stage_of(read.value) && is_light(read.value) &&
                             same_point(id, read) &&
                             (!rewritten_.contains(read.value) || share_order(id, read.value));
    place.level = std::max(place.level, level(read.value) + (in_register ? 0 : 1));
  }
  return place;
}

/// The contraction whose epilogue can compute the light root `id`: all else that it reads is there
/// before.
std::optional<NodeId> GroupLoops::epilogue_of(NodeId id) const {
  if (!is_light(id)) return std::nullopt;
  std::optional<NodeId> result;
  for (const passes::Read& read : plan_.roots.at(id).roots) {
    if (!in_group(read.value) || !stage_of(read.value) || !same_point(id, read)) continue;
    const NodeId contraction = *stage_of(read.value);
    if (!result || level(contraction) > level(*result)) result = contraction;
  }
  if (!result || box(id) != box(*result)) return std::nullopt;
  for (const passes::Read& read : plan_.roots.at(id).roots) {
    if (!in_group(read.value) || level(read.value) < level(*result)) continue;
    if (stage_of(read.value) != result || !same_point(id, read)) return std::nullopt;
  }
  return result;
}

/// Both in the epilogue of one contraction, or both in loops.
bool GroupLoops::same_loop(NodeId a, NodeId b) const { return stage_of(a) == stage_of(b); }

/// Whether roots of one box and level are in one loop for certain: both light, with the same axis
/// in vectors.
bool GroupLoops::share_order(NodeId a, NodeId b) const {
  const auto last = [&](NodeId id) { return axes_of(id).empty() ? -1 : axes_of(id).back(); };
  return is_light(a) && is_light(b) && last(a) == last(b);
}

// --- Storage -------------------------------------------------------------------------------------

/// Roots that later loops read from memory get a buffer; those nobody else needs live in scratch.
void GroupLoops::find_stored() {
  for (NodeId id : group_.roots) {
    for (const passes::Read& read : plan_.roots.at(id).roots) {
      if (!in_group(read.value)) continue;
      const bool together = level(id) == level(read.value) && same_loop(id, read.value);
      const bool in_register = stage_of(id) || is_light(read.value);
      if (!together || !in_register || !same_point(id, read)) stored_.insert(read.value);
    }
  }
  std::erase_if(stored_, [&](NodeId id) { return outputs_.contains(id) || parts_.contains(id); });
}

std::optional<Tile> GroupLoops::tile() {
  if (stored_.empty() || kernel_.tasks.empty()) return std::nullopt;
  AxisId axis = kernel_.tasks[0].axis;
  if (last_) {
    const ContractionAxes roles = contraction_axes(*last_);
    for (const TaskAxis& task : kernel_.tasks) {
      if (task.axis == roles.m()) axis = task.axis;
    }
    // Tasks are parts of the sums; only sum_tiles has sums that go on from tile to tile.
    if (std::ranges::count(roles.k, axis) > 0) return std::nullopt;
    // Tiles are nearly equal: they would begin inside of a panel.
    for (const auto& [id, choice] : choices_) {
      if (choice.panel > 0 && contraction_axes(id).n == axis) return std::nullopt;
    }
  }
  std::int64_t row_bytes = 1;
  for (NodeId id : stored_) row_bytes += graph_.node(id).types[0].byte_size() / extent(axis);
  const std::int64_t budget =
      last_ ? kHeuristics.contract_scratch_bytes : kHeuristics.loop_scratch_bytes;
  std::int64_t size = std::max<std::int64_t>(1, budget / row_bytes);
  if (!last_ && !is_vector_axis(axis)) {
    // Loops read the same rows again and again: with what they write and the rows of the next tile
    // these stay in the first cache. Some rows run together, so that one is added up while another
    // one's sum is needed; but where memory is waited for, it is in the first loop of a tile, and
    // in short tiles the processor asks there for rows while it is still at the tile before.
    const bool waits = instructions() <= kHeuristics.waiting_instructions &&
                       bytes_read(axis) * extent(axis) > kSecondCache;
    const std::int64_t points = waits ? kHeuristics.waiting_tile_points : kHeuristics.tile_points;
    const std::int64_t least = waits ? 1 : kHeuristics.row_unit;
    size = std::min(size, std::max(points / points_per_row(axis), least));
  }
  if (is_vector_axis(axis)) {
    size = std::max(ir::kLanes, size / ir::kLanes * ir::kLanes);
  } else if (last_) {
    std::int64_t rows = 1;
    for (const auto& [id, choice] : choices_) rows = std::max<std::int64_t>(rows, choice.tile.rows);
    size = std::max<std::int64_t>(rows, std::min(size, 4 * rows) / rows * rows);
  } else {
    size = std::min(size, kHeuristics.maximum_tile_rows);
    if (size > 4) size = size / 4 * 4;
  }
  return Tile{axis, size};
}

/// Bytes that the group's roots read of other kernels' values per position of `axis`.
std::int64_t GroupLoops::bytes_read(AxisId axis) const {
  std::set<NodeId> values;
  for (NodeId id : group_.roots) {
    const std::vector<int>& axes = axes_of(id);
    const passes::Root& root = plan_.roots.at(id);
    for (const std::vector<passes::Read>* reads : {&root.roots, &root.leaves}) {
      for (const passes::Read& read : *reads) {
        const bool along = std::ranges::any_of(read.slots, [&](int slot) {
          return slot >= 0 && axes[static_cast<std::size_t>(slot)] == axis;
        });
        if (along && !in_group(read.value)) values.insert(read.value);
      }
    }
  }
  std::int64_t bytes = 0;
  for (NodeId value : values) bytes += graph_.node(value).types[0].byte_size() / extent(axis);
  return bytes;
}

/// Points of the group's largest loop per position of `axis`.
std::int64_t GroupLoops::points_per_row(AxisId axis) const {
  std::int64_t most = 1;
  for (NodeId id : group_.roots) {
    std::int64_t points = 1;
    for (int other : axes_of(id))
      points *= other == axis ? 1 : std::max<std::int64_t>(extent(other), 1);
    most = std::max(most, points);
  }
  return most;
}

/// Greatest length of an axis's range inside a task.
std::int64_t GroupLoops::task_extent(AxisId axis) const {
  std::int64_t length = extent(axis);
  for (const TaskAxis& task : kernel_.tasks) {
    if (task.axis != axis) continue;
    length = 0;
    for (std::int64_t part = 0; part < task.cut.count; ++part) {
      length = std::max(length, task.cut(part).size());
    }
  }
  return length;
}

std::int64_t GroupLoops::local_extent(AxisId axis) const {
  const std::int64_t length = task_extent(axis);
  if (!kernel_.tile || kernel_.tile->axis != axis) return length;
  return std::min(length, kernel_.tile->size);
}

bool GroupLoops::is_local(AxisId axis) const {
  return (kernel_.tile && kernel_.tile->axis == axis) ||
         std::any_of(kernel_.tasks.begin(), kernel_.tasks.end(),
                     [&](const TaskAxis& task) { return task.axis == axis; });
}

AxisOrder GroupLoops::preferred_order(NodeId id) {
  const std::vector<int>& axes = axes_of(id);
  const Iteration& iteration = iterations_.at(id);
  std::set<int> kept;
  for (int slot : iteration.result_slot) {
    if (slot >= 0) kept.insert(axes[static_cast<std::size_t>(slot)]);
  }
  AxisId vector = axes.empty() ? -1 : axes.back();
  if (vector < 0 || is_chain(id, vector, kept)) vector = unit_axis();
  AxisOrder order, repeated, reduced;
  for (int axis : axes) {
    if (axis < 0 || axis == vector) continue;
    if (!kept.contains(axis)) {
      reduced.push_back(axis);
    } else {
      (kept.contains(vector) && repeats_reads(id, axis) ? repeated : order).push_back(axis);
    }
  }
  // What is read again for every position of an axis is read again soon.
  const std::ptrdiff_t outer = repeated.empty() || reduced.empty() ? 0 : std::ssize(reduced) - 1;
  order.insert(order.end(), reduced.begin(), reduced.begin() + outer);
  order.insert(order.end(), repeated.begin(), repeated.end());
  order.insert(order.end(), reduced.begin() + outer, reduced.end());
  order.push_back(vector);
  return order;
}

bool GroupLoops::repeats_reads(AxisId axis) const {
  return std::ranges::any_of(group_.roots, [&](NodeId id) {
    const std::vector<int>& axes = axes_of(id);
    return std::ranges::find(axes, axis) != axes.end() && repeats_reads(id, axis);
  });
}

/// Whether root `id` reads something that is larger than a first cache once for every position of
/// `axis`, which it keeps.
bool GroupLoops::repeats_reads(NodeId id, AxisId axis) const {
  const std::vector<int>& axes = axes_of(id);
  const auto repeated = [&](const passes::Read& read) {
    return graph_.node(read.value).types[0].byte_size() > kFirstCache &&
           std::ranges::none_of(read.slots, [&](int slot) {
             return slot == passes::kOtherIndex ||
                    (slot >= 0 && axes[static_cast<std::size_t>(slot)] == axis);
           });
  };
  const passes::Root& root = plan_.roots.at(id);
  return std::ranges::any_of(root.roots, repeated) || std::ranges::any_of(root.leaves, repeated);
}

/// A sum that goes along `axis` without lanes.
bool GroupLoops::is_chain(NodeId id, AxisId axis, const std::set<int>& kept) const {
  return (std::holds_alternative<ir::CombineComputation>(graph_.node(id).op->compute) ||
          passes::runs_in_order(graph_, id)) &&
         !kept.contains(axis);
}

}  // namespace gradus::codegen
