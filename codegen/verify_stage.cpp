#include "codegen/verify_stage.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/check.h"
#include "base/overloaded.h"
#include "codegen/text_kernel.h"

namespace gradus::codegen {
namespace {

/// No index leaves +-2^62 on the way, so that bounds are exact.
constexpr double kGreatestTerm = static_cast<double>(std::int64_t{1} << 54);
constexpr std::int64_t kGreatestPanel = 4096;
constexpr std::int64_t kGreatestCount = 1 << 16;  // ranges of one cut

class StageChecker {
 public:
  explicit StageChecker(const Kernel& kernel) : kernel_(kernel), whole_(whole_axes(kernel.axes)) {}

  void check(const Loop& loop) {
    set_axes(loop.axes, "loop");
    check_ordered(loop);
    check_body(loop.body, {});
    for (const Store& store : loop.stores) check_store(store, loop.body);
    for (const Accumulate& a : loop.accumulates) check_accumulate(a, loop);
    check_hazards();
  }

  void check(const Contract& c) {
    if (c.rows.empty() || c.k.empty()) broken("a contraction without rows or k");
    std::vector<AxisId> axes = c.result_axes();
    axes.insert(axes.end(), c.k.begin(), c.k.end());
    set_axes(axes, "contraction");
    check_cuts_of_k(c);
    check_cut(c.parts, axis_of(kernel_, c.k.front()));
    if (c.tile.rows < 1 || c.tile.vectors < 1 || c.tile.lines < 1) {
      broken("an empty register tile");
    }
    if (c.tile.lines > 1 && (c.rows.size() < 2 || is_cut(kernel_, c.m()) ||
                             axis_of(kernel_, c.m()).extent > c.tile.rows)) {
      broken("a register tile of several lines holds the whole of m");
    }
    if (c.chunk.size < 0 || c.chunk.axis < 0 ||
        static_cast<std::size_t>(c.chunk.axis) >= c.k.size()) {
      broken("chunks of no axis of k");
    }
    check_half_plane(c);
    check_factors(c);
    for (AxisId k : c.k) axes_.erase(k);
    check_body(c.epilogue, {buffer_type(c.lhs)});
    for (const Store& store : c.stores) check_store(store, c.epilogue);
    if (sums_over_tiles(kernel_, c)) {
      for (const Load& load : c.epilogue.loads) {
        if (buffer_of(kernel_, load.access).role != BufferRole::input) {
          broken(
              fmt::format("{} may change before the end of the task", spell(kernel_, load.access)));
        }
      }
      for (StageWrite& write : accesses_.writes) write.at_end_of_task = true;
    }
    check_hazards();
  }

  [[nodiscard]] StageAccesses take() { return std::move(accesses_); }

 private:
  void set_axes(const std::vector<AxisId>& axes, std::string_view what) {
    for (AxisId axis : axes) {
      if (!exists(axis)) broken(fmt::format("a {} over axis number {}", what, axis));
      if (!axes_.insert(axis).second) {
        broken(fmt::format("a {} names axis {} twice", what, axis_of(kernel_, axis).name));
      }
    }
  }
  [[nodiscard]] bool exists(AxisId axis) const {
    return axis >= 0 && static_cast<std::size_t>(axis) < kernel_.axes.size();
  }
  /// The stage knows a position along the axis: its own axes, block axes and axes of one position.
  [[nodiscard]] bool has_position(AxisId axis) const {
    return axes_.contains(axis) || axis_of(kernel_, axis).block_of >= 0 ||
           axis_of(kernel_, axis).extent <= 1;
  }
  [[nodiscard]] ElementType buffer_type(const Access& access) const {
    return buffer_of(kernel_, access).type.element;
  }

  /// Ordered axes are the loop's own, whole in every task and tile.
  void check_ordered(const Loop& loop) {
    for (AxisId axis : loop.ordered) {
      if (!axes_.contains(axis) || is_cut(kernel_, axis)) {
        broken("`ordered` names axes of the loop that neither tasks nor tiles cut");
      }
    }
    if (!loop.ordered.empty() && !loop.accumulates.empty()) {
      broken("a loop in order has no reductions");
    }
    ordered_.insert(loop.ordered.begin(), loop.ordered.end());
  }

  // --- Accesses ---

  void check_affine(const Affine& affine) const {
    if (affine.divisor < 1) broken("an index with a divisor below 1");
    if (std::abs(static_cast<double>(affine.offset)) > kGreatestTerm ||
        static_cast<double>(affine.divisor) > kGreatestTerm) {
      broken("an index with numbers beyond all extents");
    }
    AxisId last = -1;
    for (const Term& term : affine.terms) {
      if (!exists(term.axis)) broken(fmt::format("an index with axis number {}", term.axis));
      const Axis& axis = axis_of(kernel_, term.axis);
      if (term.axis <= last) broken("the terms of an index are not in order of their axes");
      last = term.axis;
      if (term.coefficient == 0) broken(fmt::format("axis {} with coefficient 0", axis.name));
      if (std::abs(static_cast<double>(term.coefficient)) *
              static_cast<double>(std::max<std::int64_t>(axis.extent, 1)) >
          kGreatestTerm) {
        broken("an index with numbers beyond all extents");
      }
      if (!has_position(term.axis)) {
        broken(fmt::format("an index uses axis {}, which the stage does not run over", axis.name));
      }
    }
  }

  /// Every index is exact and inside the buffer. With `panel` the access leaves out three.
  std::vector<IndexBounds> check_access(const Access& access, std::span<const Guard> guards,
                                        bool panel = false) const {
    if (access.buffer < 0 || static_cast<std::size_t>(access.buffer) >= kernel_.buffers.size()) {
      broken(fmt::format("an access to buffer number {}", access.buffer));
    }
    const Buffer& buffer = buffer_of(kernel_, access);
    if (access.index.size() + (panel ? 3 : 0) != buffer.type.shape.size()) {
      broken(fmt::format("{} indices for {} of type {}", access.index.size(), buffer.name,
                         gradus::to_string(buffer.type)));
    }
    for (const Affine& index : access.index) check_affine(index);
    for (const Guard& guard : guards) {
      check_affine(guard.value);
      if (guard.extent < 0 ||
          static_cast<double>(guard.extent) * static_cast<double>(guard.value.divisor) >
              kGreatestTerm) {
        broken(fmt::format("a guard of extent {}", guard.extent));
      }
    }
    const std::vector<IndexBounds> bounds = bounds_of(access, guards, whole_);
    for (std::size_t d = 0; d < bounds.size(); ++d) {
      if (is_picked(access, d)) continue;
      if (!divides(access.index[d], guards)) {
        broken(fmt::format("{}: no guard makes the division of index {} exact",
                           spell(kernel_, access), d));
      }
      const AxisId local = buffer.local.empty() ? -1 : buffer.local[d];
      if (local >= 0 && access.index[d] != Affine{{{local, 1}}, 0, 1}) {
        broken(fmt::format("{}: a local dimension is indexed by its axis {} alone",
                           spell(kernel_, access), axis_of(kernel_, local).name));
      }
      if (local < 0 && !IndexBounds{0, buffer.type.shape[d] - 1}.contains(bounds[d])) {
        broken(fmt::format("{}: index {} runs from {} to {}, outside of {}", spell(kernel_, access),
                           d, bounds[d].least, bounds[d].greatest, gradus::to_string(buffer.type)));
      }
    }
    return bounds;
  }

  /// A pick is the value of an integer among the operands of `types`.
  void check_pick(const Access& access, std::span<const ElementType> types) const {
    if (!access.pick) return;
    const auto [dimension, operand] = *access.pick;
    if (operand < 0 || static_cast<std::size_t>(operand) >= types.size() ||
        !is_integer(types[static_cast<std::size_t>(operand)])) {
      broken(fmt::format("an index by operand {}, which is no integer loaded before", operand));
    }
    if (dimension < 0 || static_cast<std::size_t>(dimension) >= access.index.size() ||
        access.index[static_cast<std::size_t>(dimension)] != Affine{}) {
      broken(fmt::format("a picked index {} that is not 0", dimension));
    }
    const Buffer& buffer = buffer_of(kernel_, access);
    if (buffer.role == BufferRole::scratch || buffer.type.element_count() == 0) {
      broken(fmt::format("{} is not picked from", buffer.name));
    }
  }

  void read(const Access& access, const std::vector<Guard>& guards, bool factor = false,
            bool panel = false) {
    std::vector<IndexBounds> bounds = check_access(access, guards, panel);
    if (buffer_of(kernel_, access).role == BufferRole::output) {
      broken(fmt::format("{}: an output is only written", spell(kernel_, access)));
    }
    accesses_.reads.push_back({access, guards, std::move(bounds), factor, panel});
  }

  /// A target that every point of `points` writes for itself.
  void write(StageWrite target, const std::set<AxisId>& points, ElementType type) {
    check_access(target.access, {});
    const Buffer& buffer = buffer_of(kernel_, target.access);
    if (buffer.role == BufferRole::input) {
      broken(fmt::format("{}: an input is only read", spell(kernel_, target.access)));
    }
    if (buffer.type.element != type) {
      broken(fmt::format("{}: a value of type {} for a buffer of type {}",
                         spell(kernel_, target.access), gradus::to_string(type),
                         gradus::to_string(buffer.type)));
    }
    const std::vector<bool> determined = determined_axes(target.access, kernel_.axes);
    for (AxisId axis : points) {
      if (!determined[static_cast<std::size_t>(axis)]) {
        broken(fmt::format("{}: points that differ in {} may write one element",
                           spell(kernel_, target.access), axis_of(kernel_, axis).name));
      }
    }
    accesses_.writes.push_back(std::move(target));
  }

  // --- Bodies ---

  void check_body(const Body& body, std::vector<ElementType> types) {
    const std::size_t given = types.size();
    for (const Load& load : body.loads) {
      read(load.access, load.guards);
      check_pick(load.access, types);
      if (load.access.pick && static_cast<std::size_t>(load.access.pick->operand) < given) {
        broken("an index by an operand that is not loaded");
      }
      types.push_back(buffer_type(load.access));
    }
    if (types != body.program.operand_types) {
      broken("the operands of the program have other types than what is loaded");
    }
    check_program(body);
  }
  void check_program(const Body& body) const {
    const ir::ScalarProgram& program = body.program;
    std::size_t faults = 0;
    for (std::size_t i = 0; i < program.code.size(); ++i) {
      const ir::ScalarInstruction& instruction = program.code[i];
      std::vector<ElementType> types;
      for (std::int32_t argument : instruction.arguments) {
        if (argument == -1) break;
        if (argument < 0 || static_cast<std::size_t>(argument) >= i) {
          broken(fmt::format("instruction %{} uses %{}, which is not earlier", i, argument));
        }
        types.push_back(program.code[static_cast<std::size_t>(argument)].type);
      }
      try {
        ir::check_instruction(instruction, types);
      } catch (const InternalError& error) {
        broken(fmt::format("instruction %{}: {}", i, error.what()));
      }
      check_immediate(program, instruction, i);
      faults += ir::can_fault(program, instruction) ? 1 : 0;
    }
    for (std::int32_t result : program.results) {
      if (result < 0 || static_cast<std::size_t>(result) >= program.code.size()) {
        broken(fmt::format("the program returns %{}, which it does not have", result));
      }
    }
    if (faults != body.fault_nodes.size()) {
      broken(fmt::format("{} instructions can fault, {} nodes are named for them", faults,
                         body.fault_nodes.size()));
    }
  }
  void check_immediate(const ir::ScalarProgram& program, const ir::ScalarInstruction& instruction,
                       std::size_t number) const {
    const std::uint64_t value = instruction.immediate;
    if (instruction.op == ir::ScalarOp::operand &&
        (value >= program.operand_types.size() ||
         program.operand_types[value] != instruction.type)) {
      broken(fmt::format("instruction %{}: no operand {} of type {}", number, value,
                         gradus::to_string(instruction.type)));
    }
    if (instruction.op == ir::ScalarOp::index &&
        (value >= kernel_.axes.size() || !has_position(static_cast<AxisId>(value)))) {
      broken(fmt::format("instruction %{}: axis {} has no position in this stage", number, value));
    }
  }
  ElementType result_type(const Body& body, std::int32_t value) const {
    if (value < 0 || static_cast<std::size_t>(value) >= body.program.results.size()) {
      broken(
          fmt::format("result number {} of a program with {}", value, body.program.results.size()));
    }
    const std::int32_t instruction = body.program.results[static_cast<std::size_t>(value)];
    return body.program.code[static_cast<std::size_t>(instruction)].type;
  }

  // --- Stores, accumulations, contractions ---

  void check_store(const Store& store, const Body& body) {
    std::set<AxisId> points;
    std::ranges::set_difference(axes_, ordered_, std::inserter(points, points.end()));
    write({store.target, false, false}, points, result_type(body, store.value));
    check_pick(store.target, body.program.operand_types);
  }

  void check_accumulate(const Accumulate& a, const Loop& loop) {
    auto at = loop.axes.begin();
    std::set<AxisId> kept = axes_;
    bool whole = true;  // complete when the loop ends
    for (AxisId axis : a.over) {
      at = std::find(at, loop.axes.end(), axis);
      if (at == loop.axes.end()) broken("`over` must name axes of the loop in the loop's order");
      ++at;
      kept.erase(axis);
      whole &= !is_cut(kernel_, axis);
    }
    if (kernel_.tile && !whole && !axes_.contains(kernel_.tile->axis)) {
      broken("an accumulation over a task axis repeats in every tile");
    }
    check_order(a, loop);
    write({a.target, true, !whole}, kept, target_type(a.kind, result_type(loop.body, a.value)));
    for (const Affine& index : a.target.index) {
      for (const Term& term : index.terms) {
        if (std::find(a.over.begin(), a.over.end(), term.axis) != a.over.end()) {
          broken(fmt::format("{}: the target of a reduction over {}", spell(kernel_, a.target),
                             axis_of(kernel_, term.axis).name));
        }
      }
    }
  }
  /// Type of the reduction of values of type `value`.
  static ElementType target_type(ir::ReductionKind kind, ElementType value) {
    using enum ir::ReductionKind;
    const bool logical = kind == any || kind == all;
    if (logical != (value == ElementType::boolean)) {
      broken(fmt::format("{} of values of type {}", to_string(kind), gradus::to_string(value)));
    }
    return kind == arg_max || kind == arg_min ? ElementType::i32 : value;
  }
  void check_order(const Accumulate& a, const Loop& loop) const {
    using enum ir::ReductionKind;
    if (a.lanes && (a.kind != sum || a.over.empty() || a.over.back() != loop.axes.back())) {
      broken("lanes are for sums over the loop's innermost axis");
    }
    if (a.kind != sum && a.kind != arg_max && a.kind != arg_min) return;
    for (std::size_t i = 0; i < a.over.size(); ++i) {
      if (!is_tile_axis(kernel_, a.over[i])) continue;
      for (std::size_t outer = 0; outer < i; ++outer) {
        if (axis_of(kernel_, a.over[outer]).extent > 1) {
          broken(fmt::format("{} over {} before the tile axis: tiles would change its order",
                             to_string(a.kind), axis_of(kernel_, a.over[outer]).name));
        }
      }
    }
  }

  /// Tasks may cut the first axis of k, and tiles one behind single positions, in one chain each.
  void check_cuts_of_k(const Contract& c) const {
    const bool tiled = sums_over_tiles(kernel_, c);
    if (tiled && (c.parts.count > 1 || c.chunk.size > 0 || c.panel > 0 || c.copied)) {
      broken("sums that go on from tile to tile have no parts and no chunks");
    }
    bool single = true;  // the axes of k so far, in every task
    for (AxisId k : c.k) {
      if (is_tile_axis(kernel_, k)) {
        if (!single) broken("a contraction's tiles would change its order");
      } else if (is_cut(kernel_, k) && (k != c.k.front() || c.parts.count > 1)) {
        broken("a contraction's k must be whole in every task and tile");
      }
      const TaskAxis* task = find_task(kernel_, k);
      const std::int64_t extent = axis_of(kernel_, k).extent;
      single = single && (extent == 1 ||
                          (task != nullptr && task->cut.count == extent && task->cut.unit == 1));
    }
  }

  void check_half_plane(const Contract& c) const {
    if (!c.half_plane) return;
    const auto has = [&](AxisId axis) {
      return axis == c.m() || axis == c.n || axis == c.k.front();
    };
    const bool single = c.rows.size() == 1 && c.k.size() == 1 && c.tile.lines == 1;
    const HalfPlane& half_plane = *c.half_plane;
    if (!single || !has(half_plane.low) || !has(half_plane.high) ||
        half_plane.low == half_plane.high) {
      broken("a half-plane is of two of the axes of a product of matrices");
    }
  }

  void check_factors(const Contract& c) {
    read(c.lhs, {}, true);
    read(c.rhs, {}, true, c.panel > 0);
    if (buffer_type(c.lhs) != buffer_type(c.rhs) || !is_float(buffer_type(c.lhs))) {
      broken("the factors of a contraction have one floating-point type");
    }
    check_independent(c.lhs, c.n);
    for (AxisId row : c.rows) check_independent(c.rhs, row);
    check_undivided(c.lhs);
    check_undivided(c.rhs);
    if (c.panel < 0 || c.panel > kGreatestPanel) {
      broken(fmt::format("panels of width {}", c.panel));
    }
    if (c.copied && (c.panel > 0 || (c.parts.count > 1 && c.chunk.size == 0))) {
      broken("a right operand is copied in chunks or in one part, and not from panels");
    }
    if (c.copied) return;
    if (c.panel > 0) return check_panels(c);
    Access leading = c.rhs;
    bool contiguous = false;  // a number, of rank 0, is not
    if (!leading.index.empty()) {
      const Affine& last = c.rhs.index.back();
      contiguous = coefficient_of(last, c.n) == 1;
      leading.index.pop_back();
    }
    if (!contiguous && axis_of(kernel_, c.n).extent > 1) {
      broken(fmt::format("{}: n is not contiguous", spell(kernel_, c.rhs)));
    }
    check_independent(leading, c.n);
  }
  void check_panels(const Contract& c) const {
    const Shape& shape = buffer_of(kernel_, c.rhs).type.shape;
    const std::int64_t n = axis_of(kernel_, c.n).extent;
    std::int64_t length = 1;
    for (AxisId k : c.k) length *= axis_of(kernel_, k).extent;
    const Shape wanted{(n + c.panel - 1) / c.panel, length, c.panel};
    if (!std::equal(wanted.begin(), wanted.end(), shape.end() - 3)) {
      broken(fmt::format("{} does not hold panels {}", spell(kernel_, c.rhs),
                         gradus::to_string(wanted)));
    }
    check_independent(c.rhs, c.n);
    for (AxisId k : c.k) check_independent(c.rhs, k);
    if (is_tile_axis(kernel_, c.n)) broken("tiles, which are nearly equal, cut panels");
    for (const TaskAxis& task : kernel_.tasks) {
      if (task.axis != c.n || task.cut.count == 1 || task.cut.unit % c.panel == 0) continue;
      broken(
          fmt::format("tasks cut panels of width {} at multiples of {}", c.panel, task.cut.unit));
    }
  }
  void check_undivided(const Access& access) const {
    for (const Affine& index : access.index) {
      if (index.divisor != 1) {
        broken(fmt::format("{}: a factor's index is divided", spell(kernel_, access)));
      }
    }
  }
  void check_independent(const Access& access, AxisId axis) const {
    for (const Affine& index : access.index) {
      for (const Term& term : index.terms) {
        if (term.axis == axis && axis_of(kernel_, axis).extent > 1) {
          broken(fmt::format("{}: this factor must not depend on {}", spell(kernel_, access),
                             axis_of(kernel_, axis).name));
        }
      }
    }
  }

  /// Points that run in any order must not see each other's writes.
  void check_hazards() const {
    if (!ordered_.empty()) return check_ordered_hazards();
    const std::vector<StageWrite>& writes = accesses_.writes;
    for (std::size_t i = 0; i < writes.size(); ++i) {
      const Access& written = writes[i].access;
      for (const StageRead& read : accesses_.reads) {
        if (read.access.buffer == written.buffer &&
            (writes[i].accumulated || read.factor || read.access.index != written.index)) {
          broken(fmt::format("reads {} and writes {} at other points", spell(kernel_, read.access),
                             spell(kernel_, written)));
        }
      }
      for (std::size_t j = 0; j < i; ++j) {
        if (writes[j].access.buffer == written.buffer && !apart(writes[j].access, written)) {
          broken(fmt::format("{} and {} may write one element", spell(kernel_, writes[j].access),
                             spell(kernel_, written)));
        }
      }
    }
  }
  /// Points that differ in an axis that is not ordered touch different elements: what they read and
  /// write of a buffer has the same indices but for those of ordered axes, which tell them apart.
  void check_ordered_hazards() const {
    for (const StageWrite& write : accesses_.writes) {
      const Access fixed = without_ordered(write.access);
      const std::vector<bool> determined = determined_axes(fixed, kernel_.axes);
      const bool told_apart = std::ranges::all_of(axes_, [&](AxisId axis) {
        return ordered_.contains(axis) || determined[static_cast<std::size_t>(axis)];
      });
      const auto clashes = [&](const auto& other) {
        return other.access.buffer == write.access.buffer &&
               without_ordered(other.access).index != fixed.index;
      };
      if (!told_apart || std::ranges::any_of(accesses_.reads, clashes) ||
          std::ranges::any_of(accesses_.writes, clashes)) {
        broken(fmt::format("{}: points that no order tells apart may touch one element",
                           spell(kernel_, write.access)));
      }
    }
  }
  [[nodiscard]] Access without_ordered(Access access) const {
    for (Affine& index : access.index) {
      const bool ordered = std::ranges::any_of(
          index.terms, [&](const Term& term) { return ordered_.contains(term.axis); });
      if (ordered) index = {};
    }
    return access;
  }
  [[nodiscard]] bool apart(const Access& a, const Access& b) const {
    for (std::size_t d = 0; d < a.index.size(); ++d) {
      if (is_picked(a, d) || is_picked(b, d)) continue;
      if (bounds_of(a.index[d], whole_).disjoint(bounds_of(b.index[d], whole_))) return true;
    }
    return false;
  }

  const Kernel& kernel_;
  std::vector<IndexBounds> whole_;
  std::set<AxisId> axes_;     // of the stage
  std::set<AxisId> ordered_;  // of them
  StageAccesses accesses_;
};

}  // namespace

void broken(std::string what, int stage) { throw BrokenLaw{std::move(what), stage}; }

StageAccesses check_stage(const Kernel& kernel, const Stage& stage) {
  StageChecker checker(kernel);
  std::visit([&](const auto& s) { checker.check(s); }, stage);
  return checker.take();
}

const Axis& axis_of(const Kernel& kernel, AxisId axis) {
  return kernel.axes[static_cast<std::size_t>(axis)];
}

const Buffer& buffer_of(const Kernel& kernel, const Access& access) {
  return kernel.buffers[static_cast<std::size_t>(access.buffer)];
}

const TaskAxis* find_task(const Kernel& kernel, AxisId axis) {
  for (const TaskAxis& task : kernel.tasks) {
    if (task.axis == axis) return &task;
  }
  return nullptr;
}

bool is_tile_axis(const Kernel& kernel, AxisId axis) {
  return kernel.tile && kernel.tile->axis == axis;
}

bool is_cut(const Kernel& kernel, AxisId axis) {
  return find_task(kernel, axis) != nullptr || is_tile_axis(kernel, axis);
}

std::string spell(const Kernel& kernel, const Access& access) { return to_string(access, kernel); }

void check_ordinary_axis(const Kernel& kernel, AxisId axis, std::string_view what) {
  if (axis < 0 || static_cast<std::size_t>(axis) >= kernel.axes.size()) {
    broken(fmt::format("{} number {} does not exist", what, axis));
  }
  if (axis_of(kernel, axis).block_of >= 0) {
    broken(fmt::format("{} {} is a block axis", what, axis_of(kernel, axis).name));
  }
}

void check_cut(const ir::Cut& cut, const Axis& axis) {
  if (cut.extent != axis.extent || cut.unit < 1 || cut.unit > kGreatestExtent || cut.count < 1 ||
      cut.count > std::clamp<std::int64_t>(axis.extent, 1, kGreatestCount)) {
    broken(fmt::format("axis {} of extent {} is cut as extent {} in {} unit {}", axis.name,
                       axis.extent, cut.extent, cut.count, cut.unit));
  }
}

}  // namespace gradus::codegen
