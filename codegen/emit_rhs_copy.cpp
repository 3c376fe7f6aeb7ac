#include "codegen/emit_rhs_copy.h"

#include <algorithm>

#include "codegen/emit_fetch.h"
#include "codegen/emit_loop.h"
#include "codegen/emit_nest.h"
#include "codegen/fetch.h"
#include "codegen/kernel_index.h"

namespace gradus::codegen {
namespace {

/// Greatest length of the ranges of k[i] in a piece.
std::int64_t piece_length(EmitContext& context, const Contract& contract, std::size_t i) {
  const std::int64_t whole = context.range(contract.k[i]).greatest();
  const auto chunked = static_cast<std::size_t>(contract.chunk.axis);
  if (contract.chunk.size == 0 || i > chunked) return whole;
  return i < chunked ? std::min<std::int64_t>(whole, 1) : std::min(whole, contract.chunk.size);
}

}  // namespace

RhsCopy::RhsCopy(EmitContext& context, const Contract& contract, ElementType type,
                 std::int64_t columns)
    : c_(context), contract_(contract) {
  Shape shape;
  for (std::size_t i = 0; i < contract.k.size(); ++i) {
    shape.push_back(piece_length(context, contract, i));
  }
  shape.push_back(columns);
  strides_ = row_major_strides(shape);
  buffer_ = context.add_scratch({type, std::move(shape)}, {});
}

void RhsCopy::fill(llvm::Value* n, std::int64_t columns) {
  Loop loop{.axes = contract_.k, .body = {}, .stores = {}, .accumulates = {}};
  loop.axes.push_back(contract_.n);
  loop.body.loads = {{contract_.rhs, {}}};
  const ElementType type = c_.buffers[static_cast<std::size_t>(contract_.rhs.buffer)].type.element;
  ir::ScalarBuilder builder({type});
  loop.body.program = builder.finish({builder.operand(0)});
  Access target{buffer_, {}};
  for (AxisId axis : loop.axes) target.index.push_back({{{axis, 1}}, 0, 1});
  loop.stores = {{std::move(target), 0}};
  const AxisRange whole = c_.range(contract_.n);
  c_.range(contract_.n) = {n, c_.b.CreateAdd(n, c_.i64(columns)), {columns}, 1};
  // Where the first of all positions would be: the loop may cut its ranges further.
  llvm::Value* own = address();
  llvm::Value* offset = n;
  for (std::size_t i = 0; i < contract_.k.size(); ++i) {
    llvm::Value* begin = c_.range(contract_.k[i]).begin;
    offset = c_.b.CreateAdd(offset, c_.b.CreateMul(begin, c_.i64(strides_[i])));
  }
  llvm::Type* element = c_.memory_type(type);
  c_.addresses[static_cast<std::size_t>(buffer_)] =
      c_.b.CreateGEP(element, own, c_.b.CreateNeg(offset));
  LoopEmitter(c_, loop).emit();
  c_.addresses[static_cast<std::size_t>(buffer_)] = own;
  if (is_far(c_.kernel, contract_.rhs)) fetch(columns);
  c_.range(contract_.n) = whole;
}

/// What lies `columns` columns behind the current range of n.
void RhsCopy::fetch(std::int64_t columns) {
  const Buffer& rhs = c_.buffers[static_cast<std::size_t>(contract_.rhs.buffer)];
  const auto stride = [&](AxisId axis) {
    return element_stride(contract_.rhs.index, rhs.type.shape, axis);
  };
  std::vector<AxisId> axes{contract_.n};
  axes.insert(axes.end(), contract_.k.begin(), contract_.k.end());
  const auto lines = std::ranges::find(axes, 1, stride);
  if (lines == axes.end()) return;
  std::rotate(lines, lines + 1, axes.end());
  const VectorAxis vector{axes.back(), kVectorLanes};
  FetchEmitter fetches(c_, {{contract_.rhs, Purpose::read, contract_.n, columns}}, vector);
  const auto enter = [&](std::size_t level) {
    AxisSet known = ~AxisSet{0};
    for (std::size_t l = level; l < axes.size(); ++l) known &= ~axis_bit(axes[l]);
    fetches.advance(known);
  };
  emit_nest(c_, {.axes = axes, .vector = vector, .enter = enter, .point = [&](llvm::Value*) {
                   fetches.fetch();
                 }});
}

llvm::Value* RhsCopy::address() const { return c_.addresses[static_cast<std::size_t>(buffer_)]; }

}  // namespace gradus::codegen
