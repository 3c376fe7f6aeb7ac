#include "codegen/emit_resting_sums.h"

#include <utility>

#include "codegen/emit_loop.h"
#include "codegen/emit_memory.h"

namespace gradus::codegen {

using llvm::Value;

RestingSums::RestingSums(EmitContext& context, const Contract& contract, ElementType type,
                         std::int64_t width, Extent extent)
    : c_(context),
      contract_(contract),
      type_(type),
      width_(width),
      ranges_(context.ranges),
      in_result_(extent == Extent::in_result) {
  if (in_result_) return;
  if (extent == Extent::whole_batch) axes_ = contract.batch;
  axes_.insert(axes_.end(), contract.rows.begin(), contract.rows.end());
  Shape shape;
  for (AxisId axis : axes_) shape.push_back(c_.range(axis).greatest());
  axes_.push_back(contract.n);
  const std::int64_t columns = c_.range(contract.n).greatest();
  shape.push_back((columns + width_ - 1) / width_ * width_);
  buffer_ = c_.add_scratch({type_, shape}, axes_);
}

void RestingSums::clear() {
  each_vector(
      [&](Value* i) { c_.b.CreateStore(llvm::Constant::getNullValue(vector_type()), vector(i)); });
}

void RestingSums::add(const RestingSums& other) {
  each_vector([&](Value* i) {
    Value* total = c_.b.CreateLoad(vector_type(), vector(i));
    Value* sum = c_.b.CreateLoad(vector_type(), other.vector(i));
    c_.b.CreateStore(c_.b.CreateFAdd(total, sum), vector(i));
  });
}

Value* RestingSums::address(Value* n) {
  if (in_result_) {
    Value*& column = c_.positions[static_cast<std::size_t>(contract_.n)];
    Value* before = std::exchange(column, n);
    Value* result = Reference(c_, contract_.stores.front().target, {}).address();
    column = before;
    return result;
  }
  const Buffer& buffer = c_.buffers[static_cast<std::size_t>(buffer_)];
  const std::vector<std::int64_t> strides = row_major_strides(buffer.type.shape);
  Value* offset = c_.i64(0);
  for (std::size_t i = 0; i < axes_.size(); ++i) {
    Value* position = axes_[i] == contract_.n ? n : c_.position(axes_[i]);
    Value* begin = ranges_[static_cast<std::size_t>(axes_[i])].begin;
    Value* inside = c_.b.CreateSub(position, begin);
    offset = c_.b.CreateAdd(offset, c_.b.CreateMul(inside, c_.i64(strides[i])));
  }
  return c_.b.CreateGEP(c_.memory_type(type_), c_.addresses[static_cast<std::size_t>(buffer_)],
                        offset);
}

void RestingSums::finish() {
  if (in_result_) return;
  Loop loop{.axes = contract_.result_axes(),
            .body = contract_.epilogue,
            .stores = contract_.stores,
            .accumulates = {}};
  Access sum{buffer_, {}};
  for (AxisId axis : axes_) sum.index.push_back({{{axis, 1}}, 0, 1});
  loop.body.loads.insert(loop.body.loads.begin(), Load{sum, {}});
  LoopEmitter(c_, loop).emit();
}

void RestingSums::each_vector(const std::function<void(Value*)>& body) {
  const Buffer& buffer = c_.buffers[static_cast<std::size_t>(buffer_)];
  const std::int64_t vectors = buffer.type.element_count() / width_;
  c_.loop(c_.i64(0), c_.i64(vectors), 1, vectors, body);
}

Value* RestingSums::vector(Value* number) const {
  return c_.b.CreateGEP(vector_type(), c_.addresses[static_cast<std::size_t>(buffer_)], number);
}

llvm::Type* RestingSums::vector_type() const {
  return EmitContext::lanes_type(c_.register_type(type_), static_cast<int>(width_));
}

}  // namespace gradus::codegen
