#include "codegen/emit_memory.h"

#include <algorithm>

#include "base/check.h"
#include "codegen/emit_scalar.h"
#include "codegen/kernel_index.h"

namespace gradus::codegen {
namespace {

using llvm::Value;

llvm::Align element_alignment(ElementType type) {
  return llvm::Align(static_cast<std::uint64_t>(byte_size(type)));
}

AxisSet axes_of(const Affine& affine) {
  AxisSet axes = 0;
  for (const Term& term : affine.terms) axes |= axis_bit(term.axis);
  return axes;
}

/// Sum of terms + offset at the current point, before the division.
Sum numerator_sum(EmitContext& c, const Affine& affine) {
  Linear sum(affine.offset);
  for (const Term& term : affine.terms) sum.add(c.position(term.axis), term.coefficient);
  return c.sums.emit(sum);
}

/// The numerator in every lane.
Value* lane_numerators(EmitContext& c, const Affine& affine, const VectorAxis& vector) {
  Value* first = c.splat(c.sums.value(numerator_sum(c, affine)), vector.lanes);
  const std::int64_t step = coefficient_of(affine, vector.axis);
  return c.b.CreateAdd(first, lane_numbers(c.b.getInt64Ty(), vector.lanes, step));
}

Value* to_register(EmitContext& c, ElementType type, Value* value) {
  if (type != ElementType::boolean) return value;
  return c.b.CreateICmpNE(value, llvm::Constant::getNullValue(value->getType()));
}

Value* to_memory(EmitContext& c, ElementType type, Value* value) {
  if (type != ElementType::boolean) return value;
  llvm::Type* bytes = c.b.getInt8Ty();
  if (auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(value->getType())) {
    bytes = llvm::FixedVectorType::get(bytes, vector->getNumElements());
  }
  return c.b.CreateZExt(value, bytes);
}

}  // namespace

void fetch_line(llvm::IRBuilder<>& b, Value* here, std::int64_t bytes, Purpose purpose) {
  constexpr std::uint32_t kFirstCache = 3, kSecondCache = 2, kData = 1;
  const bool writes = purpose == Purpose::write;
  Value* there = b.CreateConstGEP1_64(b.getInt8Ty(), here, static_cast<std::uint64_t>(bytes));
  b.CreateIntrinsic(llvm::Intrinsic::prefetch, {there->getType()},
                    {there, b.getInt32(writes ? 1 : 0),
                     b.getInt32(writes ? kFirstCache : kSecondCache), b.getInt32(kData)});
}

bool VectorAxis::moves(const Affine& affine) const {
  return lanes > 1 && coefficient_of(affine, axis) != 0;
}

Reference::Reference(EmitContext& context, const Access& access, VectorAxis vector)
    : context_(&context), vector_(vector), buffer_(access.buffer), pick_(access.pick) {
  const Buffer& buffer = context.buffers[static_cast<std::size_t>(access.buffer)];
  element_ = buffer.type.element;
  empty_ = buffer.type.element_count() == 0;
  const std::vector<std::int64_t> strides = row_major_strides(buffer.type.shape);
  if (pick_) {
    picked_extent_ = buffer.type.shape[static_cast<std::size_t>(pick_->dimension)];
    picked_stride_ = strides[static_cast<std::size_t>(pick_->dimension)];
  }
  std::vector<std::int64_t> coefficients(context.kernel.axes.size(), 0);
  for (std::size_t d = 0; d < access.index.size(); ++d) {
    const Affine& index = access.index[d];
    if (d < buffer.local.size() && buffer.local[d] >= 0) {
      local_.push_back({buffer.local[d], strides[d]});
    }
    if (index.divisor != 1) {
      (vector.moves(index) ? moving_ : fixed_).push_back({index, strides[d]});
      base_axes_ |= axes_of(index);
      continue;
    }
    constant_ += index.offset * strides[d];
    for (const Term& term : index.terms) {
      coefficients[static_cast<std::size_t>(term.axis)] += term.coefficient * strides[d];
    }
  }
  for (std::size_t axis = 0; axis < coefficients.size(); ++axis) {
    if (coefficients[axis] == 0) continue;
    const auto id = static_cast<AxisId>(axis);
    if (vector.lanes > 1 && id == vector.axis) {
      step_ = coefficients[axis];
    } else {
      terms_.push_back({id, coefficients[axis]});
      base_axes_ |= axis_bit(id);
    }
  }
  if (vector.lanes > 1) base_axes_ &= ~axis_bit(vector.axis);
}

std::int64_t Reference::stride(AxisId axis) const {
  for (const std::vector<Divided>* parts : {&fixed_, &moving_}) {
    for (const Divided& part : *parts) {
      GRADUS_CHECK(coefficient_of(part.value, axis) == 0, "the stride is not constant");
    }
  }
  if (vector_.lanes > 1 && axis == vector_.axis) return step_;
  for (const Term& term : terms_) {
    if (term.axis == axis) return term.coefficient;
  }
  return 0;
}

void Reference::emit_base() {
  EmitContext& c = *context_;
  Linear offset(constant_);
  for (const Term& term : terms_) offset.add(c.position(term.axis), term.coefficient);
  const bool own = static_cast<std::size_t>(buffer_) >= c.kernel.buffers.size();
  const std::vector<AxisRange>& narrow =
      c.narrowed && buffer_ < c.narrowed->first ? c.narrowed->ranges : c.ranges;
  const std::vector<AxisRange>& ranges = own ? narrow : c.tile_ranges;
  for (const Term& term : local_) {
    offset.add(ranges[static_cast<std::size_t>(term.axis)].begin, -term.coefficient);
  }
  for (const Divided& part : fixed_) {
    Value* numerator = c.sums.value(numerator_sum(c, part.value));
    Value* index = c.b.CreateSDiv(numerator, c.i64(part.value.divisor));
    offset.add(index, part.stride);
  }
  base_ = c.sums.emit(offset);
  if (!pick_) static_cast<void>(row_address());  // here and not once per vector
}

void Reference::set_picked(Value* index, ElementType type) {
  EmitContext& c = *context_;
  const auto* lanes = llvm::dyn_cast<llvm::FixedVectorType>(index->getType());
  const auto constant = [&](std::int64_t number) -> Value* {
    return lanes != nullptr ? c.splat(c.i64(number), static_cast<int>(lanes->getNumElements()))
                            : static_cast<Value*>(c.i64(number));
  };
  llvm::Type* wide = constant(0)->getType();
  const bool is_signed = type == ElementType::i32 || type == ElementType::i64;
  Value* position = c.b.CreateIntCast(index, wide, is_signed);
  position = c.b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, position, constant(0));
  position =
      c.b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, position, constant(picked_extent_ - 1));
  picked_ = c.b.CreateMul(position, constant(picked_stride_));
  lane_picks_ = lanes != nullptr;
}

Value* Reference::origin() const {
  EmitContext& c = *context_;
  Value* first = c.addresses[static_cast<std::size_t>(buffer_)];
  if (!pick_ || lane_picks_) return first;
  GRADUS_CHECK(picked_ != nullptr, "an address before its index");
  return c.b.CreateGEP(c.memory_type(element_), first, picked_);
}

const Sum& Reference::base() {
  if (!base_) emit_base();
  return *base_;
}

Value* Reference::row_address() {
  EmitContext& c = *context_;
  return c.sums.address(c.memory_type(element_), origin(), {base().variable, 0});
}

Sum Reference::along_vector(const Sum& sum) {
  if (vector_.lanes == 1 || step_ == 0) return sum;
  return context_->sums.plus(sum, context_->position(vector_.axis), step_);
}

Value* Reference::address() {
  EmitContext& c = *context_;
  const Sum rest = along_vector({nullptr, base().constant});
  return c.sums.address(c.memory_type(element_), row_address(), rest);
}

void Reference::fetch(std::int64_t bytes, Purpose purpose) {
  Value* here = address();
  const std::int64_t length = vector_.lanes * byte_size(element_);
  for (std::int64_t line = 0; line < length; line += kCacheLine) {
    fetch_line(context_->b, here, bytes + line, purpose);
  }
}

Value* Reference::lane_addresses() {
  EmitContext& c = *context_;
  Value* offsets = c.splat(c.sums.value(along_vector(base())), vector_.lanes);
  if (step_ != 0) {
    offsets = c.b.CreateAdd(offsets, lane_numbers(c.b.getInt64Ty(), vector_.lanes, step_));
  }
  for (const Divided& part : moving_) {
    Value* index = lane_numerators(c, part.value, vector_);
    index = c.b.CreateSDiv(index, c.splat(c.i64(part.value.divisor), vector_.lanes));
    offsets =
        c.b.CreateAdd(offsets, c.b.CreateMul(index, c.splat(c.i64(part.stride), vector_.lanes)));
  }
  if (lane_picks_) offsets = c.b.CreateAdd(offsets, picked_);
  return c.b.CreateGEP(c.memory_type(element_), origin(), offsets);
}

Value* Reference::load(Value* mask, Value* scalar_guard) {
  EmitContext& c = *context_;
  llvm::Type* element = c.memory_type(element_);
  const bool one = uniform() && (mask == nullptr || !mask->getType()->isVectorTy());
  if (one) {
    llvm::Constant* zero = llvm::Constant::getNullValue(element);
    if (empty_) return to_register(c, element_, zero);
    Sum offset = base();
    // The first element stands in for one that is not there.
    if (scalar_guard != nullptr) {
      offset = {c.b.CreateSelect(scalar_guard, c.sums.value(offset), c.i64(0)), 0};
    }
    Value* pointer = c.sums.address(element, origin(), offset);
    Value* value = c.b.CreateAlignedLoad(element, pointer, element_alignment(element_));
    if (scalar_guard != nullptr) value = emit_select(c, scalar_guard, value, zero);
    return to_register(c, element_, value);
  }
  auto* type = EmitContext::lanes_type(element, vector_.lanes);
  llvm::Constant* zero = llvm::Constant::getNullValue(type);
  if (empty_) return to_register(c, element_, zero);
  const llvm::Align alignment = element_alignment(element_);
  Value* value = nullptr;
  if (dense()) {
    value = mask == nullptr ? static_cast<Value*>(c.b.CreateAlignedLoad(type, address(), alignment))
                            : c.b.CreateMaskedLoad(type, address(), alignment, mask, zero);
  } else {
    Value* all = mask != nullptr ? mask : c.splat(c.b.getTrue(), vector_.lanes);
    value = c.b.CreateMaskedGather(type, lane_addresses(), alignment, all, zero);
  }
  return to_register(c, element_, value);
}

void Reference::store(Value* value, Value* mask) {
  EmitContext& c = *context_;
  const llvm::Align alignment = element_alignment(element_);
  value = to_memory(c, element_, value);
  if (!value->getType()->isVectorTy()) {
    c.b.CreateAlignedStore(value, address(), alignment);
  } else if (!dense()) {
    c.b.CreateMaskedScatter(value, lane_addresses(), alignment, mask);
  } else if (mask == nullptr) {
    c.b.CreateAlignedStore(value, address(), alignment);
  } else {
    c.b.CreateMaskedStore(value, address(), alignment, mask);
  }
}

Value* emit_guard(EmitContext& c, const Guard& guard, const VectorAxis& vector) {
  const std::int64_t divisor = guard.value.divisor;
  if (!vector.moves(guard.value)) {
    return c.sums.within(numerator_sum(c, guard.value), divisor, guard.extent);
  }
  const auto in_lanes = [&](std::int64_t number) { return c.splat(c.i64(number), vector.lanes); };
  Value* numerators = lane_numerators(c, guard.value, vector);
  Value* holds = c.b.CreateICmpULT(numerators, in_lanes(guard.extent * divisor));
  if (divisor == 1) return holds;
  Value* rest = c.b.CreateURem(numerators, in_lanes(divisor));
  return c.b.CreateAnd(holds, c.b.CreateICmpEQ(rest, in_lanes(0)));
}

llvm::Constant* lane_numbers(llvm::Type* integer, int lanes, std::int64_t step) {
  std::vector<llvm::Constant*> numbers;
  for (int lane = 0; lane < lanes; ++lane) {
    numbers.push_back(llvm::ConstantInt::getSigned(integer, lane * step));
  }
  return lanes == 1 ? numbers[0] : llvm::ConstantVector::get(numbers);
}

}  // namespace gradus::codegen
