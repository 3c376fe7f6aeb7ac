#include "codegen/emit_loop.h"

#include <algorithm>

#include "codegen/emit_transpose.h"

// Two kinds of loop run over groups of rows, with the copies of the body side by side: those whose
// body costs much and shares much between neighbouring rows (dropout: one counter gives the random
// words of four rows), and those with a short body that accumulates along its rows, where one row
// alone would wait for its own last addition. What lies farther than a first cache is waited for
// longer, and comes sooner as one stream than as four.
//
// A store waits for its line of memory, and those behind it wait for the store: what a loop is
// going to write is fetched some time before.

namespace gradus::codegen {
namespace {

constexpr std::size_t kLongBody = 40;   // instructions from which sharing is worth grouping
constexpr std::size_t kShortBody = 16;  // instructions that take less time than an addition waits

Affine shifted(Affine affine, AxisId axis, std::int64_t by) {
  for (const Term& term : affine.terms) {
    if (term.axis == axis) affine.offset += by * term.coefficient;
  }
  return affine;
}

Access shifted(Access access, AxisId axis, std::int64_t by) {
  for (Affine& index : access.index) index = shifted(index, axis, by);
  return access;
}

Load shifted(Load load, AxisId axis, std::int64_t by) {
  load.access = shifted(load.access, axis, by);
  for (Guard& guard : load.guards) guard.value = shifted(guard.value, axis, by);
  return load;
}

/// The loads of all rows of a group without repetition, and by row and operand their number.
struct GroupLoads {
  std::vector<Load> loads;
  std::vector<std::vector<std::int32_t>> numbers;

  GroupLoads(const std::vector<Load>& of_row, AxisId axis) {
    for (int row = 0; row < kGroupRows; ++row) {
      numbers.emplace_back();
      for (const Load& load : of_row) {
        const Load moved = shifted(load, axis, row);
        const auto known = std::ranges::find(loads, moved);
        numbers.back().push_back(static_cast<std::int32_t>(known - loads.begin()));
        if (known == loads.end()) loads.push_back(moved);
      }
    }
  }
};

/// Instructions but for constants, which are shared anyway, and loads.
std::size_t operations(const FlatProgram& program) {
  return static_cast<std::size_t>(
      std::ranges::count_if(program.code, [](const ir::ScalarInstruction& instruction) {
        return instruction.op != ir::ScalarOp::constant && instruction.op != ir::ScalarOp::operand;
      }));
}

bool contains(const std::vector<AxisId>& axes, AxisId axis) {
  return std::ranges::find(axes, axis) != axes.end();
}

}  // namespace

StoreEmitter::StoreEmitter(EmitContext& context, const std::vector<Store>& stores,
                           VectorAxis vector, std::int32_t first_result) {
  for (const Store& store : stores) {
    targets_.push_back({Reference(context, store.target, vector), first_result + store.value});
  }
}

void StoreEmitter::advance(AxisSet known) {
  for (Target& target : targets_) {
    Reference& reference = target.reference;
    if (!reference.has_base() && (reference.base_axes() & ~known) == 0) reference.emit_base();
  }
}

void StoreEmitter::store(BodyEmitter& body) {
  for (Target& target : targets_) {
    body.place(target.reference);
    target.reference.store(body.result(target.result), body.mask());
  }
}

LoopEmitter::LoopEmitter(EmitContext& context, const Loop& loop)
    : c_(context),
      loop_(loop),
      effective_(effective_axes(context, loop.axes)),
      unread_(context.unread_part(loop)),
      accumulates_(1) {
  if (!loop.ordered.empty()) {
    if (contains(loop.ordered, effective_.vector.axis)) effective_.vector = {};
    return;
  }
  if (unread_ != nullptr && !loop.accumulates.empty()) return;  // exactly what is read
  if ((patches_ = patch_course(context, loop, effective_))) return;
  columns_ = column_levels(context, loop, effective_);
  if (columns_ && row_group()) columns_ = std::nullopt;
}

LoopCourse LoopEmitter::course() const {
  LoopCourse course{&loop_, effective_.axes, 1, columns_ || patches_,
                    flatten(loop_.body.program, {}).code.size()};
  if (course.columns) course.axes.pop_back();
  if (!course.axes.empty()) course.row = c_.range(course.axes.back()).greatest();
  return course;
}

void LoopEmitter::begin_task() {
  for (const Accumulate& accumulate : loop_.accumulates) {
    const auto instruction = static_cast<std::size_t>(
        loop_.body.program.results[static_cast<std::size_t>(accumulate.value)]);
    accumulates_[0].push_back(std::make_unique<AccumulateEmitter>(
        c_, accumulate, loop_.body.program.code[instruction].type, effective_,
        columns_ || patches_));
    if (accumulates_[0].back()->whole_task()) accumulates_[0].back()->begin();
  }
}

void LoopEmitter::end_task() {
  for (const auto& accumulate : accumulates_[0]) {
    if (accumulate->whole_task()) accumulate->end();
  }
}

void LoopEmitter::emit() {
  const bool exact = unread_ != nullptr && !loop_.accumulates.empty();
  if (loop_.ordered.empty() && !exact && emit_transposing(c_, loop_, effective_)) return;
  const auto in_tile = [&](auto&& action) {
    for (const auto& accumulate : accumulates_[0]) {
      if (!accumulate->whole_task()) action(*accumulate);
    }
  };
  in_tile([](AccumulateEmitter& accumulate) { accumulate.begin(); });
  if (patches_) {
    emit_patches(c_, loop_, *patches_, effective_.vector, accumulates_[0]);
  } else if (columns_) {
    emit_columns(c_, loop_, effective_, *columns_, accumulates_[0], fetches_, unread_);
  } else if (!emit_groups()) {
    BodyEmitter body(c_, flatten(loop_.body.program, loop_.body.fault_nodes), loop_.body.loads,
                     loop_.axes, effective_.vector);
    std::vector<StoreEmitter> stores{{c_, loop_.stores, effective_.vector}};
    nest(body, stores, -1);
  }
  in_tile([](AccumulateEmitter& accumulate) { accumulate.end(); });
}

void LoopEmitter::nest(BodyEmitter& body, std::vector<StoreEmitter>& stores, AxisId group_axis) {
  AxisSet known = ~AxisSet{0};  // what has no loop is known from the start
  for (AxisId axis : effective_.axes) known &= ~axis_bit(axis);
  const AxisSet outside = known;
  Nest nest{.axes = effective_.axes,
            .vector = effective_.vector,
            .stepped = group_axis,
            .step = kGroupRows};
  for (const Accumulate& accumulate : loop_.accumulates) {
    nest.fixed_lanes = nest.fixed_lanes || accumulate.lanes;
  }
  if (unread_ != nullptr && group_axis < 0) nest.half_plane = unread_->half_plane;
  FetchEmitter fetches(c_, fetches_, effective_.vector, group_axis,
                       group_axis >= 0 ? kGroupRows : 1);
  nest.enter = [&](std::size_t level) {
    known = outside;
    for (std::size_t l = 0; l < level; ++l) known |= axis_bit(effective_.axes[l]);
    body.advance(known);
    for (StoreEmitter& copy : stores) copy.advance(known);
    fetches.advance(known);
    each_accumulate([&](AccumulateEmitter& accumulate) { accumulate.enter(level); });
  };
  nest.leave = [&](std::size_t level) {
    if (nest.half_plane && level + 1 == effective_.axes.size()) add_left_out();
    each_accumulate([&](AccumulateEmitter& accumulate) { accumulate.leave(level); });
  };
  nest.point = [&](llvm::Value* mask) {
    point(body, stores, mask);
    fetches.advance(~AxisSet{0});
    fetches.fetch();
  };
  emit_nest(c_, nest);
}

void LoopEmitter::point(BodyEmitter& body, std::vector<StoreEmitter>& stores, llvm::Value* mask) {
  if (effective_.vector.lanes > 1) body.forget(effective_.vector.axis);
  body.set_mask(mask);
  body.advance(~AxisSet{0});
  // Sums are read before anything is written: a processor takes the address of a row for that of
  // another one that is a multiple of 4096 bytes away, and would wait for the write.
  each_accumulate([&](AccumulateEmitter& accumulate) { accumulate.open(body.mask()); });
  for (StoreEmitter& copy : stores) {
    copy.advance(~AxisSet{0});
    copy.store(body);
  }
  add(body);
  each_accumulate([&](AccumulateEmitter& accumulate) { accumulate.close(body.mask()); });
}

void LoopEmitter::add(BodyEmitter& body) {
  const auto results = static_cast<std::int32_t>(loop_.body.program.results.size());
  for (std::size_t copy = 0; copy < accumulates_.size(); ++copy) {
    for (std::size_t i = 0; i < loop_.accumulates.size(); ++i) {
      AccumulateEmitter* own = accumulates_[copy][i].get();
      AccumulateEmitter& target = own != nullptr ? *own : *accumulates_[0][i];
      const std::int32_t result =
          static_cast<std::int32_t>(copy) * results + loop_.accumulates[i].value;
      target.add(body.result(result), body.mask());
    }
  }
}

void LoopEmitter::add_left_out() {
  if (loop_.accumulates.empty()) return;
  const AxisId axis = effective_.vector.axis;
  const HalfPlane& border = unread_->half_plane;
  const bool low = border.low == axis;
  const std::int64_t extent = c_.axis(axis).extent;
  const AxisRange admitted =
      c_.admitted(border, axis, c_.range(axis), c_.position(border.other(axis)), 1);
  // The position of each lane that is left out first, or last; where there is none, one inside.
  std::vector<llvm::Constant*> positions;
  for (std::int64_t lane = 0; lane < kVectorLanes; ++lane) {
    std::int64_t position = lane;
    if (low) position += (extent - 1 - lane) / kVectorLanes * kVectorLanes;
    if (lane >= extent) position = low ? -1 : extent;
    positions.push_back(c_.b.getInt32(static_cast<std::uint32_t>(position)));
  }
  llvm::Value* bound = c_.b.CreateTrunc(low ? admitted.end : admitted.begin, c_.b.getInt32Ty());
  bound = c_.splat(bound, kVectorLanes);
  llvm::Value* own = llvm::ConstantVector::get(positions);
  llvm::Value* lanes = low ? c_.b.CreateICmpSGE(own, bound) : c_.b.CreateICmpSLT(own, bound);
  for (std::size_t i = 0; i < loop_.accumulates.size(); ++i) {
    accumulates_[0][i]->add_constant(unread_->constants[i], lanes);
  }
}

bool LoopEmitter::can_group(AxisId axis) {
  const AxisRange& range = c_.range(axis);
  if (range.multiple % kGroupRows != 0) return false;
  for (std::int64_t length : range.lengths) {
    if (length % kGroupRows != 0) return false;
  }
  for (std::size_t i = 0; i < loop_.accumulates.size(); ++i) {
    const Accumulate& accumulate = loop_.accumulates[i];
    const bool over_rows = contains(accumulate.over, axis);
    const bool over_lanes = contains(accumulate.over, effective_.axes.back());
    if (over_rows == over_lanes || accumulate.kind == ir::ReductionKind::arg_max ||
        accumulate.kind == ir::ReductionKind::arg_min) {
      return false;
    }
    if (over_lanes && accumulates_[0][i]->in_memory()) return false;
  }
  return true;
}

std::optional<LoopEmitter::RowGroup> LoopEmitter::row_group() {
  const std::vector<AxisId>& axes = effective_.axes;
  if (unread_ != nullptr && !loop_.accumulates.empty()) return std::nullopt;
  // Operands have other numbers in a group.
  const bool picks = std::ranges::any_of(
      loop_.body.loads, [](const Load& load) { return load.access.pick.has_value(); });
  if (picks || !loop_.ordered.empty() || axes.size() < 2 || !can_group(axes[axes.size() - 2])) {
    return std::nullopt;
  }
  const AxisId axis = axes[axes.size() - 2];
  const FlatProgram single = flatten(loop_.body.program, loop_.body.fault_nodes);
  const bool waits = single.code.size() <= kShortBody && !reads_far() &&
                     std::ranges::any_of(loop_.accumulates, [&](const Accumulate& accumulate) {
                       return contains(accumulate.over, axes.back());
                     });
  if (!waits && single.code.size() < kLongBody) return std::nullopt;
  for (const ir::ScalarInstruction& instruction : single.code) {
    if (ir::can_fault(single, instruction)) return std::nullopt;
  }
  GroupLoads loads(loop_.body.loads, axis);
  FlatProgram program = flatten_rows(loop_.body.program, axis, loads.numbers);
  if (!waits && 4 * operations(program) > 3 * kGroupRows * operations(single)) return std::nullopt;
  return RowGroup{axis, std::move(program), std::move(loads.loads)};
}

bool LoopEmitter::reads_far() const {
  return std::ranges::any_of(loop_.body.loads,
                             [&](const Load& load) { return is_far(c_.kernel, load.access); });
}

bool LoopEmitter::emit_groups() {
  std::optional<RowGroup> group = row_group();
  if (!group) return false;
  const AxisId axis = group->axis;
  BodyEmitter body(c_, std::move(group->program), group->loads, loop_.axes, effective_.vector);
  const auto results = static_cast<std::int32_t>(loop_.body.program.results.size());
  std::vector<StoreEmitter> stores;
  for (int row = 0; row < kGroupRows; ++row) {
    std::vector<Store> moved = loop_.stores;
    for (Store& store : moved) store.target = shifted(store.target, axis, row);
    stores.emplace_back(c_, moved, effective_.vector, row * results);
    if (row == 0) continue;
    accumulates_.emplace_back();
    for (std::size_t i = 0; i < loop_.accumulates.size(); ++i) {
      accumulates_.back().emplace_back();
      if (contains(loop_.accumulates[i].over, axis)) continue;  // one chain for all rows
      Accumulate& target = shifted_.emplace_back(loop_.accumulates[i]);
      target.target = shifted(target.target, axis, row);
      accumulates_.back().back() = std::make_unique<AccumulateEmitter>(
          c_, target, accumulates_[0][i]->value_type(), effective_, false);
      accumulates_.back().back()->begin();
    }
  }
  nest(body, stores, axis);
  accumulates_.resize(1);
  return true;
}

}  // namespace gradus::codegen
