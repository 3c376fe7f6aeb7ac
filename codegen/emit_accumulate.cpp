#include "codegen/emit_accumulate.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "codegen/emit_scalar.h"

namespace gradus::codegen {
namespace {

using ir::ReductionKind;
using llvm::Value;

/// Bits of the value that changes nothing.
std::uint64_t identity_bits(ReductionKind kind, ElementType type) {
  const bool greatest = kind == ReductionKind::max || kind == ReductionKind::arg_max;
  switch (kind) {
    case ReductionKind::sum:
    case ReductionKind::any:
      return 0;
    case ReductionKind::all:
      return 1;
    case ReductionKind::max:
    case ReductionKind::min:
    case ReductionKind::arg_max:
    case ReductionKind::arg_min:
      break;
  }
  switch (type) {
    case ElementType::f32:
      return greatest ? 0xff800000 : 0x7f800000;
    case ElementType::f64:
      return greatest ? 0xfff0000000000000 : 0x7ff0000000000000;
    case ElementType::i32:
      return greatest ? 0x80000000 : 0x7fffffff;
    case ElementType::i64:
      return greatest ? 0x8000000000000000 : 0x7fffffffffffffff;
    case ElementType::u32:
      return greatest ? 0 : 0xffffffff;
    case ElementType::u8:
      return greatest ? 0 : 0xff;
    case ElementType::boolean:
      break;
  }
  return greatest ? 0 : 1;
}

/// Extrema of 32-bit integers are instructions where vectors have at least as many bits.
constexpr int kBitExtremaBits = 256;

bool contains(const std::vector<AxisId>& axes, AxisId axis) {
  return std::ranges::find(axes, axis) != axes.end();
}

}  // namespace

AccumulateEmitter::AccumulateEmitter(EmitContext& context, const Accumulate& accumulate,
                                     ElementType value_type, const EffectiveAxes& loop,
                                     bool columns)
    : c_(context),
      accumulate_(accumulate),
      loop_(loop),
      value_type_(value_type),
      types_{value_type},
      in_columns_(columns) {
  argument_ =
      accumulate.kind == ReductionKind::arg_max || accumulate.kind == ReductionKind::arg_min;
  if (argument_) types_.push_back(ElementType::i32);
  const std::vector<AxisId>& axes = loop_.axes;
  for (AxisId axis : axes) {
    if (!contains(accumulate.over, axis)) kept_.push_back(axis);
  }
  horizontal_ = axes.empty() || contains(accumulate.over, axes.back());
  const std::optional<Tile>& tile = context.kernel.tile;
  whole_task_ = tile && contains(accumulate.over, tile->axis);
  const bool floats = is_float(value_type) && accumulate.kind == ReductionKind::sum;
  const bool lane_sum = accumulate.lanes && !axes.empty() && accumulate.over.back() == axes.back();
  chain_ = horizontal_ && floats && !lane_sum;
  lanes_ = chain_ ? 1 : loop_.vector.lanes;
  level_ = in_columns_ ? axes.size() - 1 : axes.size();
  while (level_ > 0 && contains(accumulate.over, axes[level_ - 1])) --level_;
  const std::size_t outside = in_columns_ ? kept_.size() - 1 : kept_.size();
  const bool register_loops = outside == level_;
  in_memory_ = whole_task_ || !register_loops || (!horizontal_ && !in_columns_);
  const bool extremum =
      accumulate.kind == ReductionKind::max || accumulate.kind == ReductionKind::min;
  by_bits_ = extremum && value_type == ElementType::f32 && lanes_ > 1 &&
             c_.target.vector_bits >= kBitExtremaBits && (horizontal_ || !in_memory_);
  if (by_bits_) types_.assign(3, ElementType::i32);
}

AccumulateEmitter::State AccumulateEmitter::identity(int lanes) {
  const std::uint64_t bits = identity_bits(accumulate_.kind, value_type_);
  State state(by_bits_ ? types_.size() : 1, emit_constant(c_, types_[0], bits, lanes));
  if (argument_) {
    constexpr std::uint64_t kNone = std::numeric_limits<std::int32_t>::max();
    state.push_back(emit_constant(c_, types_[1], kNone, lanes));
  }
  return state;
}

AccumulateEmitter::State AccumulateEmitter::choose(Value* condition, const State& x,
                                                   const State& y) {
  State state;
  for (std::size_t i = 0; i < x.size(); ++i) {
    state.push_back(emit_select(c_, condition, x[i], y[i]));
  }
  return state;
}

AccumulateEmitter::State AccumulateEmitter::combine(const State& old, const State& x) {
  llvm::IRBuilder<>& b = c_.b;
  if (by_bits_) {
    return {b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, old[0], x[0]),
            b.CreateBinaryIntrinsic(llvm::Intrinsic::umin, old[1], x[1]),
            b.CreateBinaryIntrinsic(llvm::Intrinsic::umax, old[2], x[2])};
  }
  switch (accumulate_.kind) {
    case ReductionKind::sum:
      return {is_float(types_[0]) ? b.CreateFAdd(old[0], x[0]) : b.CreateAdd(old[0], x[0])};
    case ReductionKind::max:
    case ReductionKind::min:
      return {emit_extremum(c_, accumulate_.kind == ReductionKind::max, types_[0], old[0], x[0],
                            !horizontal_)};
    case ReductionKind::any:
      return {b.CreateOr(old[0], x[0])};
    case ReductionKind::all:
      return {b.CreateAnd(old[0], x[0])};
    case ReductionKind::arg_max:
    case ReductionKind::arg_min:
      break;
  }
  // x wins if it is beyond the old value, or equal and earlier. NaN is beyond everything.
  const bool greatest = accumulate_.kind == ReductionKind::arg_max;
  Value* low = greatest ? old[0] : x[0];
  Value* high = greatest ? x[0] : old[0];
  Value* beyond = nullptr;
  Value* same = nullptr;
  if (is_float(types_[0])) {
    Value* old_nan = b.CreateFCmpUNO(old[0], old[0]);
    Value* x_nan = b.CreateFCmpUNO(x[0], x[0]);
    beyond = b.CreateOr(b.CreateFCmpOLT(low, high), b.CreateAnd(x_nan, b.CreateNot(old_nan)));
    same = b.CreateOr(b.CreateFCmpOEQ(low, high), b.CreateAnd(x_nan, old_nan));
  } else {
    const bool is_signed = is_signed_integer(types_[0]);
    beyond = is_signed ? b.CreateICmpSLT(low, high) : b.CreateICmpULT(low, high);
    same = b.CreateICmpEQ(low, high);
  }
  Value* earlier = b.CreateICmpSLT(x[1], old[1]);
  return choose(b.CreateOr(beyond, b.CreateAnd(same, earlier)), x, old);
}

/// The value that the state stands for. Floats of one sign are ordered as their bits are, unsigned;
/// signed, every float that is not negative is above all others.
AccumulateEmitter::State AccumulateEmitter::finish(const State& state) {
  if (!by_bits_) return state;
  llvm::IRBuilder<>& b = c_.b;
  Value* greatest_signed = state[0];
  Value* least = state[1];
  Value* greatest = state[2];
  const auto bits = [&](std::uint64_t value) {
    return llvm::ConstantInt::get(least->getType(), value);
  };
  Value* extremum =
      accumulate_.kind == ReductionKind::max
          ? b.CreateSelect(b.CreateICmpSGE(greatest_signed, bits(0)), greatest_signed, least)
          : b.CreateSelect(b.CreateICmpSLT(greatest, bits(0)), greatest, least);
  Value* is_nan = b.CreateOr(b.CreateICmpSGT(greatest_signed, bits(0x7f800000)),
                             b.CreateICmpUGT(greatest, bits(0xff800000)));
  extremum = b.CreateSelect(is_nan, bits(0x7fc00000), extremum);
  llvm::Type* type = b.getFloatTy();
  if (auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(least->getType())) {
    type = EmitContext::lanes_type(type, static_cast<int>(vector->getNumElements()));
  }
  return {emit_flush(c_, value_type_, b.CreateBitCast(extremum, type))};
}

/// All lanes combined: +8, +4, +2, +1.
AccumulateEmitter::State AccumulateEmitter::fold(State state) {
  for (int half = lanes_ / 2; half >= 1; half /= 2) {
    State low, high;
    for (Value* value : state) {
      if (half == 1) {
        low.push_back(c_.b.CreateExtractElement(value, std::uint64_t{0}));
        high.push_back(c_.b.CreateExtractElement(value, std::uint64_t{1}));
        continue;
      }
      llvm::SmallVector<int> first, second;
      for (int lane = 0; lane < half; ++lane) {
        first.push_back(lane);
        second.push_back(lane + half);
      }
      low.push_back(c_.b.CreateShuffleVector(value, first));
      high.push_back(c_.b.CreateShuffleVector(value, second));
    }
    state = combine(low, high);
  }
  if (by_bits_) return finish(state);
  // Subnormals lie between the zeros in order, so that the extremum may become zero at last.
  const bool extremum =
      accumulate_.kind == ReductionKind::max || accumulate_.kind == ReductionKind::min;
  if (extremum && is_float(types_[0])) state[0] = emit_flush(c_, types_[0], state[0]);
  // A sum in lanes whose axis has one position: the other lanes are +0.
  if (accumulate_.lanes && lanes_ == 1) state = combine(state, identity(1));
  return state;
}

AccumulateEmitter::Registers AccumulateEmitter::new_registers() {
  Registers registers;
  for (ElementType type : types_) {
    registers.push_back(c_.variable(EmitContext::lanes_type(c_.register_type(type), lanes_)));
  }
  return registers;
}

AccumulateEmitter::State AccumulateEmitter::read(const Registers& registers) {
  State state;
  for (llvm::AllocaInst* variable : registers) {
    state.push_back(c_.b.CreateLoad(variable->getAllocatedType(), variable));
  }
  return state;
}

void AccumulateEmitter::write(const Registers& registers, const State& state) {
  for (std::size_t i = 0; i < state.size(); ++i) c_.b.CreateStore(state[i], registers[i]);
}

AccumulateEmitter::State AccumulateEmitter::state_of(Value* value) {
  if (by_bits_) {
    llvm::Type* bits = EmitContext::lanes_type(c_.b.getInt32Ty(), lanes_);
    return State(types_.size(), c_.b.CreateBitCast(value, bits));
  }
  State state{value};
  if (argument_) state.push_back(row_major_position());
  return state;
}

AccumulateEmitter::State AccumulateEmitter::from_memory(Value* mask) {
  State state;
  for (Reference& reference : memory_) {
    state.push_back(c_.splat(reference.load(mask), lanes_));
  }
  return state;
}

void AccumulateEmitter::to_memory(const State& state, Value* mask) {
  for (std::size_t i = 0; i < state.size(); ++i) memory_[i].store(state[i], mask);
}

void AccumulateEmitter::emit_bases() {
  for (Reference& reference : memory_) reference.emit_base();
}

/// The lanes of the state in scratch are not positions of the vector axis.
void AccumulateEmitter::at_first_lane(const std::function<void()>& body) {
  emit_bases();
  if (lanes_ > 1) c_.positions[static_cast<std::size_t>(loop_.vector.axis)] = c_.i64(0);
  body();
  if (lanes_ > 1) c_.positions[static_cast<std::size_t>(loop_.vector.axis)] = nullptr;
}

void AccumulateEmitter::for_each_kept(bool vectors, const std::function<void(Value* mask)>& point) {
  emit_nest(c_, {.axes = kept_, .vector = vectors ? loop_.vector : VectorAxis{}, .point = point});
}

void AccumulateEmitter::begin() {
  if (horizontal_) registers_ = new_registers();
  const VectorAxis vector{loop_.vector.axis, lanes_};
  if (in_columns_ && !in_memory_) memory_.emplace_back(c_, accumulate_.target, vector);
  if (!in_memory_) return;
  for (std::size_t i = 0; i < types_.size(); ++i) {
    const bool in_target = !horizontal_ && i + 1 == types_.size();
    if (in_target) {
      memory_.emplace_back(c_, accumulate_.target, vector);
      continue;
    }
    TensorType type{types_[i], {}};
    for (AxisId axis : kept_) type.shape.push_back(c_.range(axis).greatest());
    type.shape.push_back(horizontal_ ? lanes_ : 1);
    Access access{c_.add_scratch(std::move(type), kept_), {}};
    for (AxisId axis : kept_) access.index.push_back({{{axis, 1}}, 0, 1});
    Affine lane;
    if (horizontal_ && lanes_ > 1) lane.terms = {{vector.axis, 1}};
    access.index.push_back(lane);
    memory_.emplace_back(c_, access, vector);
  }
  for_each_kept(!horizontal_, [&](Value* mask) {
    if (horizontal_) {
      at_first_lane([&] { to_memory(identity(lanes_), nullptr); });
    } else {
      emit_bases();
      to_memory(identity(lanes_), mask);
    }
  });
}

void AccumulateEmitter::enter(std::size_t level) {
  if (!horizontal_ && level + 1 == loop_.axes.size()) emit_bases();
  if (!horizontal_ || level != level_) return;
  if (in_memory_) {
    at_first_lane([&] { write(registers_, from_memory(nullptr)); });
  } else {
    write(registers_, identity(lanes_));
  }
}

void AccumulateEmitter::leave(std::size_t level) {
  if (!horizontal_ || level != level_) return;
  if (in_memory_) {
    at_first_lane([&] { to_memory(read(registers_), nullptr); });
  } else {
    store_result(fold(read(registers_)));
  }
}

void AccumulateEmitter::open(Value* mask) {
  if (!horizontal_) opened_ = from_memory(mask);
}

void AccumulateEmitter::close(Value* mask) {
  if (!horizontal_) to_memory(opened_, mask);
}

void AccumulateEmitter::add(Value* value, Value* mask) {
  State x = state_of(value);
  if (chain_ && loop_.vector.lanes > 1) {
    if (mask != nullptr) {  // adding -0 changes nothing
      llvm::Type* type = value->getType();
      x[0] = emit_select(c_, mask, value, llvm::ConstantFP::getNegativeZero(type));
    }
    write(registers_, {c_.b.CreateFAddReduce(read(registers_)[0], x[0])});
    return;
  }
  if (!horizontal_) {
    opened_ = combine(opened_, x);
    return;
  }
  const State old = read(registers_);
  State sum = combine(old, x);
  if (mask != nullptr) sum = choose(mask, sum, old);
  write(registers_, sum);
}

void AccumulateEmitter::add_constant(std::uint64_t word, Value* lanes) {
  const State old = read(registers_);
  const State sum = combine(old, state_of(emit_constant(c_, value_type_, word, lanes_)));
  write(registers_, choose(lanes, sum, old));
}

void AccumulateEmitter::open_column(Value* mask) {
  emit_bases();
  columns_.push_back(new_registers());
  write(columns_.back(), in_memory_ ? from_memory(mask) : identity(lanes_));
}

void AccumulateEmitter::add_to_column(std::size_t number, Value* value) {
  write(columns_[number], combine(read(columns_[number]), state_of(value)));
}

void AccumulateEmitter::close_column(std::size_t number, Value* mask) {
  emit_bases();
  const State state = read(columns_[number]);
  if (in_memory_) {
    to_memory(state, mask);
  } else {
    memory_[0].store(finish(state).back(), mask);
  }
}

Value* AccumulateEmitter::row_major_position() {
  llvm::IRBuilder<>& b = c_.b;
  Value* position = c_.i64(0);
  std::int64_t step = 0;  // from lane to lane
  for (AxisId axis : accumulate_.over) {
    const std::int64_t extent = c_.axis(axis).extent;
    position = b.CreateAdd(b.CreateMul(position, c_.i64(extent)), c_.position(axis));
    step = step * extent + (loop_.vector.lanes > 1 && axis == loop_.vector.axis ? 1 : 0);
  }
  Value* first = c_.splat(b.CreateTrunc(position, b.getInt32Ty()), loop_.vector.lanes);
  return b.CreateAdd(first, lane_numbers(b.getInt32Ty(), loop_.vector.lanes, step));
}

void AccumulateEmitter::store_result(const State& state) {
  Reference(c_, accumulate_.target, {}).store(state.back(), nullptr);
}

void AccumulateEmitter::end() {
  if (!in_memory_ || !horizontal_) return;
  for_each_kept(false,
                [&](Value*) { at_first_lane([&] { store_result(fold(from_memory(nullptr))); }); });
}

}  // namespace gradus::codegen
