#include "codegen/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/overloaded.h"
#include "codegen/body.h"
#include "ir/op.h"
#include "passes/access.h"
#include "passes/roots.h"

namespace gradus::codegen {
namespace {

using ir::Graph;
using ir::NodeId;
using passes::Group;
using passes::Iteration;

// The heuristics of the schedule. Those that decide tasks know shapes only.
struct Heuristics {
  std::int64_t elements_per_task = 8192;      // of a loop
  std::int64_t operations_per_task = 1 << 20;  // of a contraction
  std::int64_t maximum_tasks = 64;
  std::int64_t least_task_columns = 128;  // of a contraction's n
  std::int64_t least_task_rows = 40;      // of a contraction's m: several register tiles
  std::int64_t column_unit = 64;
  std::int64_t row_unit = 4;  // rows that draw their random words together
  std::int64_t loop_scratch_bytes = 40 * 1024;      // of a tile without a contraction: within L1
  std::int64_t contract_scratch_bytes = 128 * 1024;  // of a tile with one: within L2
  std::int64_t maximum_tile_rows = 16;
};
constexpr Heuristics kHeuristics;

/// The order in which a loop runs its axes; the last one is the vector axis.
using AxisOrder = std::vector<AxisId>;

class GroupScheduler {
 public:
  GroupScheduler(const Graph& graph, const passes::FusionPlan& plan, std::size_t number,
                 const Target& target)
      : graph_(graph),
        plan_(plan),
        group_(plan.groups[number]),
        target_(target),
        all_roots_(plan.roots) {
    for (NodeId id : group_.roots) iterations_.emplace(id, passes::iteration_of(graph, id));
    outputs_.insert(group_.outputs.begin(), group_.outputs.end());
    for (NodeId id : group_.roots) {
      if (std::holds_alternative<ir::ContractionComputation>(graph.node(id).op->compute)) {
        contraction_ = id;
      }
    }
  }

  std::vector<ScheduledKernel> run(std::size_t number) {
    kernel_.name = fmt::format("{}_{}_{}", graph_.name(), number,
                               graph_.node(group_.roots.back()).op->name);
    make_axes();
    assign_levels();
    make_tasks();
    plan_storage();
    make_stages();
    finish_buffers();
    describe();
    std::vector<ScheduledKernel> kernels = std::move(packs_);
    kernels.push_back({std::move(kernel_), std::move(parameters_), operations_});
    return kernels;
  }

 private:
  // --- Axes -------------------------------------------------------------------------------------

  void make_axes() {
    // Those of a contraction are named b, m, n and k.
    const std::string_view letters = contraction_ ? "ijlpqrstuvw" : "ijklpqrstuvw";
    for (std::size_t axis = 0; axis < group_.extents.size(); ++axis) {
      const std::string name = axis < letters.size() ? std::string(1, letters[axis])
                                                     : fmt::format("a{}", axis);
      kernel_.axes.push_back({name, group_.extents[axis], -1});
    }
    if (!contraction_) return;
    const std::vector<AxisId> roles = contraction_axes();
    constexpr std::string_view names = "bmnk";
    for (std::size_t i = 0; i < roles.size(); ++i) {
      if (roles[i] >= 0 && kernel_.axes[static_cast<std::size_t>(roles[i])].block_of < 0) {
        kernel_.axes[static_cast<std::size_t>(roles[i])].name = names.substr(i, 1);
      }
    }
  }

  /// Domain axes of the contraction as batch (-1: none), m, n, k; unit axes are made where needed.
  std::vector<AxisId> contraction_axes() {
    const std::vector<int>& axes = group_.axes.at(*contraction_);
    GRADUS_CHECK(axes.size() == 3 || axes.size() == 4, "the contraction is not canonical");
    std::vector<AxisId> roles(axes.begin(), axes.end());
    if (roles.size() == 3) roles.insert(roles.begin(), -1);
    for (std::size_t i = 1; i < 4; ++i) {
      if (roles[i] < 0) roles[i] = unit_axis(i);
    }
    return roles;
  }

  /// An axis of extent 1; `which` tells several apart.
  AxisId unit_axis(std::size_t which = 0) {
    const auto [at, added] = unit_axes_.emplace(which, static_cast<AxisId>(kernel_.axes.size()));
    if (added) kernel_.axes.push_back({fmt::format("one{}", which), 1, -1});
    return at->second;
  }

  const std::vector<int>& axes_of(NodeId id) const { return group_.axes.at(id); }
  bool in_group(NodeId id) const { return group_.axes.contains(id); }

  /// Index of root `id`'s own memory at the current point of its loop.
  std::vector<Affine> own_index(NodeId id) {
    std::vector<Affine> index;
    for (int slot : iterations_.at(id).result_slot) {
      AxisId axis = -1;
      if (slot >= 0) {
        axis = axes_of(id)[static_cast<std::size_t>(slot)];
      } else {
        axis = block_axis(axes_of(id)[static_cast<std::size_t>(iterations_.at(id).block_slot)]);
      }
      index.push_back(axis < 0 ? Affine{} : Affine{{{axis, 1}}, 0, 1});
    }
    return index;
  }

  AxisId block_axis(AxisId axis) {
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

  // --- Levels: which loop computes which root -----------------------------------------------------

  bool is_light(NodeId id) const { return passes::access_of(graph_, id) == passes::Access::light; }

  /// Root `reader` gets `read` in a register: same loop, same point.
  bool same_point(NodeId reader, const passes::Read& read) const {
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

  std::set<int> box(NodeId id) const {
    std::set<int> axes(axes_of(id).begin(), axes_of(id).end());
    axes.erase(-1);
    if (contraction_ == id && !axes_of(id).empty()) axes.erase(axes_of(id).back());  // k
    return axes;
  }

  /// Level 0 is the contraction with its epilogue; loops have levels from 1.
  void assign_levels() {
    std::map<NodeId, int> least;
    for (bool stable = false; !stable;) {
      stable = true;
      for (NodeId id : group_.roots) levels_[id] = std::max(level_of(id), least[id]);
      // What an update in place overwrites must have been read by every earlier loop.
      for (const auto& [update, state] : plan_.in_place) {
        if (!in_group(update)) continue;
        for (NodeId id : group_.roots) {
          if (id == update || !reads_leaf(id, state)) continue;
          const int after = levels_[id] + (box(id) == box(update) && is_light(id) ? 0 : 1);
          if (levels_[update] < after) {
            least[update] = after;
            stable = false;
          }
        }
      }
    }
  }

  bool reads_leaf(NodeId id, NodeId leaf) const {
    const std::vector<passes::Read>& leaves = all_roots_.at(id).leaves;
    return std::any_of(leaves.begin(), leaves.end(),
                       [&](const passes::Read& read) { return read.value == leaf; });
  }

  int level_of(NodeId id) const {
    if (contraction_ == id) return 0;
    int level = is_light(id) && contraction_ && reads_only_accumulator(id) ? 0 : 1;
    for (const passes::Read& read : all_roots_.at(id).roots) {
      if (!in_group(read.value)) continue;
      const int theirs = levels_.at(read.value);
      const bool in_register = same_point(id, read) &&
                               (is_light(read.value) || (theirs == 0 && is_light(id))) &&
                               (theirs > 0 || level == 0);
      level = std::max(level, in_register ? theirs : theirs + 1);
    }
    return level;
  }

  /// A light root that the epilogue can compute.
  bool reads_only_accumulator(NodeId id) const {
    bool any = false;
    for (const passes::Read& read : all_roots_.at(id).roots) {
      if (!in_group(read.value)) continue;
      if (levels_.at(read.value) != 0 || !same_point(id, read)) return false;
      any = true;
    }
    return any && box(id) == box(*contraction_);
  }

  // --- Tasks ------------------------------------------------------------------------------------

  std::int64_t extent(AxisId axis) const {
    return kernel_.axes[static_cast<std::size_t>(axis)].extent;
  }

  void make_tasks() {
    std::vector<passes::ParallelAxis> axes = group_.parallel;
    // Cuts that sums depend on first; then the outermost.
    std::stable_sort(axes.begin(), axes.end(), [](const auto& a, const auto& b) {
      return a.cut.has_value() > b.cut.has_value();
    });
    std::int64_t wanted = wanted_tasks();
    for (const passes::ParallelAxis& axis : axes) {
      if (axis.cut) {
        kernel_.tasks.push_back({axis.axis, *axis.cut});
        wanted = std::max<std::int64_t>(1, wanted / axis.cut->count);
      } else if (wanted > 1 || (kernel_.tasks.empty() && axis.axis == axes.back().axis)) {
        const ir::Cut cut = free_cut(axis.axis, wanted);
        kernel_.tasks.push_back({axis.axis, cut});
        wanted = std::max<std::int64_t>(1, wanted / cut.count);
      }
    }
    if (kernel_.tasks.empty() && !axes.empty()) {
      kernel_.tasks.push_back({axes[0].axis, {extent(axes[0].axis), 1, 1}});
    }
    std::sort(kernel_.tasks.begin(), kernel_.tasks.end(),
              [](const TaskAxis& a, const TaskAxis& b) { return a.axis < b.axis; });
  }

  std::int64_t wanted_tasks() const {
    std::int64_t elements = 0;
    for (NodeId id : group_.roots) {
      elements = std::max(elements, element_count(iterations_.at(id).extents));
    }
    const std::int64_t wanted = contraction_ ? 2 * elements / kHeuristics.operations_per_task
                                             : elements / kHeuristics.elements_per_task;
    return std::clamp<std::int64_t>(wanted, 1, kHeuristics.maximum_tasks);
  }

  /// A cut that no sum depends on.
  ir::Cut free_cut(AxisId axis, std::int64_t wanted) {
    const std::int64_t length = extent(axis);
    if (contraction_ && axis == contraction_axes()[2]) {
      const std::int64_t most = std::max<std::int64_t>(1, length / kHeuristics.least_task_columns);
      return {length, std::min(wanted, most), kHeuristics.column_unit};
    }
    if (contraction_ && axis == contraction_axes()[1]) {
      const std::int64_t most = std::max<std::int64_t>(1, length / kHeuristics.least_task_rows);
      return {length, std::min(wanted, most), kHeuristics.row_unit};
    }
    if (is_vector_axis(axis)) {
      const std::int64_t most = std::max<std::int64_t>(1, length / (4 * ir::kLanes));
      return {length, std::min(wanted, most), ir::kLanes};
    }
    return {length, std::clamp<std::int64_t>(length, 1, wanted), 1};
  }

  bool is_vector_axis(AxisId axis) {
    return std::any_of(group_.roots.begin(), group_.roots.end(), [&](NodeId id) {
      return id != contraction_ && preferred_order(id).back() == axis;
    });
  }

  // --- Storage ----------------------------------------------------------------------------------

  /// Roots that later loops read from memory get a buffer; those nobody else needs live in scratch.
  void plan_storage() {
    for (NodeId id : group_.roots) {
      for (const passes::Read& read : all_roots_.at(id).roots) {
        if (in_group(read.value) && !(levels_[id] == levels_[read.value] &&
                                      same_point(id, read) && level_shares_loop(id, read.value))) {
          stored_.insert(read.value);
        }
      }
    }
    std::erase_if(stored_, [&](NodeId id) { return outputs_.contains(id); });
    choose_tile();
  }

  bool level_shares_loop(NodeId reader, NodeId value) const {
    return levels_.at(reader) == 0 || is_light(value);
  }

  void choose_tile() {
    if (stored_.empty() || kernel_.tasks.empty()) return;
    AxisId axis = kernel_.tasks[0].axis;
    if (contraction_) {
      const AxisId m = contraction_axes()[1];
      for (const TaskAxis& task : kernel_.tasks) {
        if (task.axis == m) axis = m;
      }
    }
    std::int64_t row_bytes = 1;
    for (NodeId id : stored_) row_bytes += graph_.node(id).types[0].byte_size() / extent(axis);
    const std::int64_t budget = contraction_ ? kHeuristics.contract_scratch_bytes
                                             : kHeuristics.loop_scratch_bytes;
    std::int64_t size = std::max<std::int64_t>(1, budget / row_bytes);
    if (is_vector_axis(axis)) {
      size = std::max(ir::kLanes, size / ir::kLanes * ir::kLanes);
    } else if (contraction_) {
      const std::int64_t rows = register_tile().rows;
      size = std::max<std::int64_t>(rows, std::min(size, 4 * rows) / rows * rows);
    } else {
      size = std::min(size, kHeuristics.maximum_tile_rows);
      if (size > 4) size = size / 4 * 4;
    }
    kernel_.tile = Tile{axis, size};
  }

  RegisterTile register_tile() {
    const std::vector<AxisId> roles = contraction_axes();
    return choose_register_tile(task_extent(roles[1]), task_extent(roles[2]),
                                graph_.node(*contraction_).types[0].element, target_);
  }

  /// Greatest length of an axis's range inside a task.
  std::int64_t task_extent(AxisId axis) const {
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

  /// Greatest length of an axis's range inside a tile or task.
  std::int64_t local_extent(AxisId axis) const {
    const std::int64_t length = task_extent(axis);
    if (!kernel_.tile || kernel_.tile->axis != axis) return length;
    return std::min(length, kernel_.tile->size);
  }

  bool is_local(AxisId axis) const {
    return (kernel_.tile && kernel_.tile->axis == axis) ||
           std::any_of(kernel_.tasks.begin(), kernel_.tasks.end(),
                       [&](const TaskAxis& task) { return task.axis == axis; });
  }

  // --- Buffers ----------------------------------------------------------------------------------

  /// The parameter that holds `memory` under `type` (a view may have another shape).
  BufferId parameter(Parameter memory, const TensorType& type, bool written) {
    if (const auto state = plan_.in_place.find(memory.value); state != plan_.in_place.end()) {
      memory.value = state->second;
    }
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i] == memory && kernel_.buffers[i].type == type) {
        mark_use(static_cast<BufferId>(i), written);
        return static_cast<BufferId>(i);
      }
    }
    const auto id = static_cast<BufferId>(kernel_.buffers.size());
    kernel_.buffers.push_back({unique_name(buffer_name(memory)), type,
                               written ? BufferRole::output : BufferRole::input, {}});
    parameters_.push_back(memory);
    return id;
  }

  void mark_use(BufferId id, bool written) {
    BufferRole& role = kernel_.buffers[static_cast<std::size_t>(id)].role;
    const BufferRole now = written ? BufferRole::output : BufferRole::input;
    if (role != now) role = BufferRole::in_out;
  }

  /// One memory may be a parameter in several shapes.
  std::string unique_name(const std::string& name) const {
    const auto taken = [&](const std::string& wanted) {
      return std::ranges::any_of(kernel_.buffers,
                                 [&](const Buffer& buffer) { return buffer.name == wanted; });
    };
    std::string result = name;
    for (int i = 2; taken(result); ++i) {
      result = name.back() == '"' ? fmt::format("{}_{}\"", name.substr(0, name.size() - 1), i)
                                  : fmt::format("{}_{}", name, i);
    }
    return result;
  }

  std::string buffer_name(const Parameter& memory) const {
    const ir::Node& node = graph_.node(memory.value);
    const std::string_view prefix = memory.panel > 0 ? "panels" : "v";
    if (std::holds_alternative<ir::InputComputation>(node.op->compute) && memory.panel == 0) {
      return fmt::format("\"{}\"", node.attributes.get<std::string>("name"));
    }
    return fmt::format("{}{}", prefix, memory.value);
  }

  // --- Stages -----------------------------------------------------------------------------------

  void make_stages() {
    if (contraction_) kernel_.stages.push_back(contract());
    std::map<int, std::vector<NodeId>> by_level;
    for (NodeId id : group_.roots) {
      if (levels_[id] > 0) by_level[levels_[id]].push_back(id);
    }
    for (const auto& [level, roots] : by_level) {
      for (const auto& [order, members] : loops_of(roots)) {
        kernel_.stages.push_back(loop(order, members, level));
      }
    }
  }

  /// Roots of one level by the loop that computes them. Reductions fix the order of axes, light
  /// roots join a loop over the same box.
  std::vector<std::pair<AxisOrder, std::vector<NodeId>>> loops_of(const std::vector<NodeId>& roots) {
    std::vector<std::pair<AxisOrder, std::vector<NodeId>>> loops;
    const auto place = [&](NodeId id) {
      const AxisOrder order = preferred_order(id);
      for (auto& [known, members] : loops) {
        const bool same_box = std::set(known.begin(), known.end()) ==
                              std::set(order.begin(), order.end());
        if (known == order || (is_light(id) && same_box && known.back() == order.back())) {
          members.push_back(id);
          return;
        }
      }
      loops.push_back({order, {id}});
    };
    for (NodeId id : roots) {
      if (!is_light(id)) place(id);
    }
    for (NodeId id : roots) {
      if (is_light(id)) place(id);
    }
    return loops;
  }

  /// Kept axes, then reduced ones, then the innermost operand axis as vector axis - unless a sum
  /// along it is one chain.
  AxisOrder preferred_order(NodeId id) {
    const std::vector<int>& axes = axes_of(id);
    const Iteration& iteration = iterations_.at(id);
    std::set<int> kept;
    for (int slot : iteration.result_slot) {
      if (slot >= 0) kept.insert(axes[static_cast<std::size_t>(slot)]);
    }
    AxisOrder order;
    AxisId vector = axes.empty() ? -1 : axes.back();
    if (vector < 0 || is_chain(id, vector, kept)) vector = unit_axis();
    for (const bool want_kept : {true, false}) {
      for (int axis : axes) {
        if (axis >= 0 && axis != vector && kept.contains(axis) == want_kept) order.push_back(axis);
      }
    }
    order.push_back(vector);
    return order;
  }

  /// A sum that reduces `axis` without lanes.
  bool is_chain(NodeId id, AxisId axis, const std::set<int>& kept) const {
    return std::holds_alternative<ir::CombineComputation>(graph_.node(id).op->compute) &&
           !kept.contains(axis);
  }

  std::optional<Access> memory_access(NodeId id, const std::vector<Affine>& index, int level,
                                      const std::set<NodeId>& own) {
    if (own.contains(id)) return std::nullopt;
    const ir::Node& node = graph_.node(id);
    if (passes::access_of(graph_, id) == passes::Access::leaf) {
      return Access{parameter({id}, node.types[0], false), index};
    }
    if (passes::access_of(graph_, id) == passes::Access::alias) {
      return Access{parameter({passes::memory_of(graph_, id)}, node.types[0], false), index};
    }
    if (!all_roots_.contains(id)) return std::nullopt;
    if (in_group(id)) {
      if (level == levels_.at(id) && is_light(id)) return std::nullopt;
      if (!outputs_.contains(id)) return Access{scratch(id), index};
    }
    return Access{parameter({id}, node.types[0], false), index};
  }

  /// The scratch buffer of root `id`; scratch ids are negative until all parameters are known.
  BufferId scratch(NodeId id) {
    const auto [at, added] =
        scratch_ids_.emplace(id, -1 - static_cast<BufferId>(scratch_ids_.size()));
    if (added) {
      Buffer buffer{fmt::format("s{}", id), graph_.node(id).types[0], BufferRole::scratch, {}};
      const std::vector<int>& slots = iterations_.at(id).result_slot;
      for (std::size_t a = 0; a < slots.size(); ++a) {
        const AxisId axis = slots[a] < 0 ? -1 : axes_of(id)[static_cast<std::size_t>(slots[a])];
        const bool local = axis >= 0 && is_local(axis);
        buffer.local.push_back(local ? axis : -1);
        if (local) buffer.type.shape[a] = local_extent(axis);
      }
      pending_scratch_.push_back(std::move(buffer));
    }
    return at->second;
  }

  Access target_of(NodeId id) {
    if (outputs_.contains(id)) {
      return {parameter({id}, graph_.node(id).types[0], true), own_index(id)};
    }
    return {scratch(id), own_index(id)};
  }

  bool needs_memory(NodeId id) const { return outputs_.contains(id) || stored_.contains(id); }

  Loop loop(const AxisOrder& order, const std::vector<NodeId>& members, int level) {
    Loop result;
    result.axes = order;
    std::set<NodeId> own;
    for (NodeId id : members) {
      if (is_light(id)) own.insert(id);
    }
    BodyBuilder body(graph_, kernel_.axes,
                     {[&, own](NodeId id, const std::vector<Affine>& index) {
                        return memory_access(id, index, level, own);
                      },
                      -1});
    for (NodeId id : members) {
      if (is_light(id)) {
        if (!needs_memory(id)) continue;
        const std::int32_t value = body.result(id, own_index(id));
        result.stores.push_back({target_of(id), value});
      } else {
        result.accumulates.push_back(accumulate(id, body));
      }
    }
    result.body = body.finish();
    count_operations(order, result.body);
    return result;
  }

  Accumulate accumulate(NodeId id, BodyBuilder& body) {
    const ir::Value operand = graph_.operands(id)[0];
    const Shape& shape = graph_.type(operand).shape;
    const std::vector<int>& axes = axes_of(id);
    std::vector<Affine> index;
    for (int axis : axes) index.push_back(axis < 0 ? Affine{} : Affine{{{axis, 1}}, 0, 1});
    Accumulate result;
    result.value = body.result(operand.node, index);
    result.target = target_of(id);
    const ir::Integers reduced = passes::reduced_axes(graph_, id);
    for (std::int64_t axis : reduced) {
      const int domain = axes[static_cast<std::size_t>(axis)];
      if (domain >= 0) result.over.push_back(domain);
    }
    const ir::OpRecord& record = *graph_.node(id).op;
    if (const auto* reduction = std::get_if<ir::ReductionComputation>(&record.compute)) {
      result.kind = reduction->kind;
    }
    const bool combine = std::holds_alternative<ir::CombineComputation>(record.compute);
    result.lanes = result.kind == ir::ReductionKind::sum && !combine &&
                   ir::sum_order(shape, reduced).lanes && shape.back() > 1;
    return result;
  }

  Contract contract() {
    Contract result;
    const NodeId c = *contraction_;
    const std::vector<AxisId> roles = contraction_axes();
    if (roles[0] >= 0) result.batch = {roles[0]};
    result.m = roles[1];
    result.n = roles[2];
    result.k = roles[3];
    const std::vector<std::int64_t> extents{extent(result.k)};
    const std::int64_t unit = graph_.node(c).attributes.get<std::int64_t>("part_unit");
    result.parts = ir::contraction_order(extents, unit).parts;
    if (result.parts.extent != extent(result.k)) result.parts = {extent(result.k), 1, 1};
    result.tile = register_tile();
    result.lhs = operand_access(0);
    set_rhs(result);
    BodyBuilder body(graph_, kernel_.axes,
                     {[&](NodeId id, const std::vector<Affine>& index) {
                        return memory_access(id, index, 0, {c});
                      },
                      static_cast<std::int64_t>(c)});
    for (NodeId id : group_.roots) {
      if (levels_[id] != 0 || !needs_memory(id)) continue;
      const std::int32_t value = body.result(id, own_index(id));
      result.stores.push_back({target_of(id), value});
    }
    result.epilogue = body.finish();
    operations_ += 2 * element_count(iterations_.at(c).extents);
    return result;
  }

  /// Operand `side` of the contraction where it lies in memory.
  Access operand_access(std::size_t side) {
    const ir::Value operand = graph_.operands(*contraction_)[side];
    const passes::Permuted memory = passes::behind_permutation(graph_, operand.node);
    const std::vector<int>& slots = iterations_.at(*contraction_).operand_slots[side];
    Access access{parameter({passes::memory_of(graph_, memory.node)},
                            graph_.node(memory.node).types[0], false),
                  {}};
    for (int axis : memory.axes) {
      AxisId domain = -1;
      if (axis >= 0) {
        domain = axes_of(*contraction_)[static_cast<std::size_t>(
            slots[static_cast<std::size_t>(axis)])];
      }
      access.index.push_back(domain < 0 ? Affine{} : Affine{{{domain, 1}}, 0, 1});
    }
    return access;
  }

  /// 0: the right operand is read in place.
  std::int64_t panel_width(bool contiguous, std::int64_t n, std::int64_t k, ElementType type) {
    const RegisterTile tile = register_tile();
    if (!contiguous) return tile.vectors * target_.width(type);
    return choose_panel(k, n, type, tile, target_);
  }

  /// Reads the right operand in place, or packs it into panels in a kernel of its own.
  void set_rhs(Contract& result) {
    const std::size_t known = parameters_.size();
    const Access in_place = operand_access(1);
    const TensorType type = kernel_.buffers[static_cast<std::size_t>(in_place.buffer)].type;
    const bool contiguous =
        !in_place.index.empty() && in_place.index.back() == Affine{{{result.n, 1}}, 0, 1};
    const std::int64_t n = extent(result.n);
    const std::int64_t k = extent(result.k);
    result.panel = n == 1 ? 0 : panel_width(contiguous, n, k, type.element);
    if (result.panel == 0) {
      result.rhs = in_place;
      return;
    }
    const Parameter source = parameters_[static_cast<std::size_t>(in_place.buffer)];
    if (parameters_.size() > known) {  // only the packing kernel reads it
      parameters_.pop_back();
      kernel_.buffers.pop_back();
    }
    const std::int64_t panels = (n + result.panel - 1) / result.panel;
    TensorType packed{type.element, {panels, k, result.panel}};
    if (!result.batch.empty()) packed.shape.insert(packed.shape.begin(), extent(result.batch[0]));
    const Parameter target{source.value, result.panel, *contraction_};
    packs_.push_back(pack(in_place, type, packed, source, target, result));
    result.rhs.buffer = parameter(target, packed, false);
    for (AxisId batch : result.batch) result.rhs.index.push_back({{{batch, 1}}, 0, 1});
  }

  /// A kernel that copies the right operand into panels; columns past n are 0.
  ScheduledKernel pack(const Access& source_access, const TensorType& type,
                       const TensorType& packed, const Parameter& source, const Parameter& target,
                       const Contract& contract) const {
    ScheduledKernel result;
    Kernel& kernel = result.kernel;
    kernel.name = kernel_.name + "_panels";
    const bool batched = !contract.batch.empty();
    const std::int64_t n = extent(contract.n);
    if (batched) kernel.axes.push_back({"b", packed.shape[0], -1});
    const auto p = static_cast<AxisId>(kernel.axes.size());
    kernel.axes.push_back({"p", packed.shape[batched ? 1 : 0], -1});
    kernel.axes.push_back({"k", extent(contract.k), -1});
    kernel.axes.push_back({"j", contract.panel, -1});
    kernel.tasks.push_back({p, {packed.shape[batched ? 1 : 0], packed.shape[batched ? 1 : 0], 1}});
    kernel.buffers.push_back({"source", type, BufferRole::input, {}});
    kernel.buffers.push_back({"panels", packed, BufferRole::output, {}});
    const Affine column{{{p, contract.panel}, {p + 2, 1}}, 0, 1};
    Access access{0, {}};
    for (const Affine& index : source_access.index) {
      if (index.terms.empty()) {
        access.index.push_back({});
      } else if (index.terms[0].axis == contract.n) {
        access.index.push_back(column);
      } else {
        access.index.push_back({{{index.terms[0].axis == contract.k ? p + 1 : 0, 1}}, 0, 1});
      }
    }
    Loop copy;
    for (AxisId axis = 0; axis < static_cast<AxisId>(kernel.axes.size()); ++axis) {
      copy.axes.push_back(axis);
    }
    Load load{access, {}};
    if (n % contract.panel != 0) load.guards.push_back({column, n});
    copy.body.loads.push_back(load);
    ir::ScalarBuilder builder({type.element});
    copy.body.program = builder.finish({builder.operand(0)});
    Access out{1, {}};
    for (AxisId axis : copy.axes) out.index.push_back({{{axis, 1}}, 0, 1});
    copy.stores.push_back({out, 0});
    kernel.stages.push_back(std::move(copy));
    result.parameters = {source, target};
    return result;
  }

  // --- Finish -----------------------------------------------------------------------------------

  /// Scratch goes behind the parameters; accesses to it get their final ids.
  void finish_buffers() {
    const auto first = static_cast<BufferId>(kernel_.buffers.size());
    for (Buffer& buffer : pending_scratch_) kernel_.buffers.push_back(std::move(buffer));
    const auto fix = [&](Access& access) {
      if (access.buffer < 0) access.buffer = first - 1 - access.buffer;
    };
    const auto fix_body = [&](Body& body) {
      for (Load& load : body.loads) fix(load.access);
    };
    for (Stage& stage : kernel_.stages) {
      std::visit(overloaded{[&](Loop& loop) {
                              fix_body(loop.body);
                              for (Store& store : loop.stores) fix(store.target);
                              for (Accumulate& sink : loop.accumulates) fix(sink.target);
                            },
                            [&](Contract& contract) {
                              fix_body(contract.epilogue);
                              for (Store& store : contract.stores) fix(store.target);
                            }},
                 stage);
    }
  }

  void count_operations(const AxisOrder& order, const Body& body) {
    std::int64_t points = 1;
    for (AxisId axis : order) points *= extent(axis);
    std::int64_t instructions = 0;
    for (const ir::ScalarInstruction& instruction : body.program.code) {
      if (is_float(instruction.type) && ir::info(instruction.op).arity > 0) ++instructions;
    }
    operations_ += points * instructions;
  }

  void describe() {
    ir::Provenance provenance;
    for (NodeId id : group_.roots) provenance.merge(graph_.node(id).provenance);
    kernel_.provenance = to_string(provenance);
    for (ScheduledKernel& pack : packs_) pack.kernel.provenance = kernel_.provenance;
  }

  const Graph& graph_;
  const passes::FusionPlan& plan_;
  const Group& group_;
  const Target& target_;
  const std::map<NodeId, passes::Root>& all_roots_;
  std::map<NodeId, Iteration> iterations_;
  std::set<NodeId> outputs_;
  std::optional<NodeId> contraction_;
  std::map<NodeId, int> levels_;
  std::set<NodeId> stored_;  // roots that live in scratch
  std::map<std::size_t, AxisId> unit_axes_;
  std::map<NodeId, BufferId> scratch_ids_;
  std::vector<Buffer> pending_scratch_;
  Kernel kernel_;
  std::vector<Parameter> parameters_;
  std::vector<ScheduledKernel> packs_;
  std::int64_t operations_ = 0;
};

}  // namespace

std::vector<ScheduledKernel> schedule(const Graph& graph, const passes::FusionPlan& plan,
                                      std::size_t group, const Target& target) {
  return GroupScheduler(graph, plan, group, target).run(group);
}

}  // namespace gradus::codegen
