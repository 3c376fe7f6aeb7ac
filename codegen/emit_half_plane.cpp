// Chains that leave out what a half-plane does not admit: the part of ChainEmitter that knows where
// its border crosses a register tile.

#include "codegen/emit_chain.h"

namespace gradus::codegen {

using llvm::Value;

void ChainEmitter::emit_half_plane(const ChainTile& tile) {
  const HalfPlane& half_plane = *contract_.half_plane;
  const AxisId k = contract_.k.front();
  if (half_plane.low == k || half_plane.high == k) {
    emit_to_border(tile);
  } else {
    emit_inside(tile);
  }
}

Value* ChainEmitter::first_of(AxisId axis, const ChainTile& tile) const {
  return axis == contract_.n ? tile.n : c_.position(axis);
}
std::int64_t ChainEmitter::length_of(AxisId axis, const ChainTile& tile) const {
  return axis == contract_.n ? tile.columns : static_cast<std::int64_t>(tile.rows.size());
}

void ChainEmitter::emit_inside(const ChainTile& tile) {
  const HalfPlane& half_plane = *contract_.half_plane;
  const auto last = [&](AxisId axis) {
    return b_.CreateAdd(first_of(axis, tile), c_.i64(length_of(axis, tile) - 1));
  };
  Value* any = c_.admits(half_plane, first_of(half_plane.low, tile), last(half_plane.high));
  c_.when(any, [&] {
    emit_near(tile);
    Value* all = c_.admits(half_plane, last(half_plane.low), first_of(half_plane.high, tile));
    c_.when(b_.CreateNot(all), [&] { clear_outside(tile); });
  });
}

/// Leaves out the half of the vectors that is farther behind the border, where all of it is.
void ChainEmitter::emit_near(const ChainTile& tile) {
  const HalfPlane& half_plane = *contract_.half_plane;
  const bool columns_low = half_plane.low == contract_.n;
  const std::int64_t vectors = vectors_of(tile);
  if (vectors < 2) return emit_range(tile);
  const Used near = columns_low ? Used{0, (vectors + 1) / 2} : Used{vectors / 2, vectors};
  const std::int64_t far = columns_low ? near.end * width_ : near.begin * width_ - 1;
  Value* column = b_.CreateAdd(tile.n, c_.i64(far));
  Value* row = c_.position(contract_.m());
  Value* last_row = b_.CreateAdd(row, c_.i64(length_of(contract_.m(), tile) - 1));
  Value* all =
      columns_low ? c_.admits(half_plane, column, last_row) : c_.admits(half_plane, row, column);
  c_.when(all, [&] { emit_range(tile); });
  c_.when(b_.CreateNot(all), [&] {
    used_ = near;
    emit_range(tile);
    used_ = std::nullopt;
  });
}

void ChainEmitter::clear_outside(const ChainTile& tile) {
  const HalfPlane& half_plane = *contract_.half_plane;
  const bool columns_low = half_plane.low == contract_.n;
  Value* row = c_.position(contract_.m());
  Value* offset = c_.i64(columns_low ? half_plane.offset : -half_plane.offset);
  Value* beyond = lanes_beyond(b_.CreateSub(b_.CreateAdd(row, offset), tile.n));
  const std::int64_t vectors = vectors_of(tile);
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    const auto number = static_cast<std::int64_t>(i);
    Value* inside = lanes_inside(beyond, number / vectors, number % vectors, !columns_low);
    Value* sum = b_.CreateLoad(vector_type(), sums_[i]);
    Value* zero = llvm::Constant::getNullValue(vector_type());
    b_.CreateStore(b_.CreateSelect(inside, sum, zero), sums_[i]);
  }
}

Value* ChainEmitter::in_lanes(Value* border) const {
  constexpr std::int64_t kFar = std::int64_t{1} << 30;  // beyond all of a tile
  Value* near = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, border, c_.i64(-kFar));
  near = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, near, c_.i64(kFar));
  return c_.splat(b_.CreateTrunc(near, b_.getInt32Ty()), static_cast<int>(width_));
}

Value* ChainEmitter::lanes_beyond(Value* border) const {
  Value* lanes = lane_numbers(b_.getInt32Ty(), static_cast<int>(width_));
  return b_.CreateSub(lanes, in_lanes(border));
}

Value* ChainEmitter::lanes_inside(Value* beyond, std::int64_t row, std::int64_t vector,
                                  bool from_border) const {
  const auto of_lane_0 = static_cast<std::uint32_t>(row - vector * width_);
  Value* wanted = c_.splat(b_.getInt32(of_lane_0), static_cast<int>(width_));
  return from_border ? b_.CreateICmpSGE(beyond, wanted) : b_.CreateICmpSLE(beyond, wanted);
}

Value* ChainEmitter::row_inside(Value* border, std::int64_t row, bool from_border) const {
  Value* own = c_.splat(b_.getInt32(static_cast<std::uint32_t>(row)), static_cast<int>(width_));
  return from_border ? b_.CreateICmpSGE(own, border) : b_.CreateICmpSLE(own, border);
}

void ChainEmitter::in_range(const ChainTile& tile, Value* begin, Value* end,
                            const std::function<void()>& body) {
  AxisRange& range = c_.range(contract_.k.front());
  const AxisRange whole = range;
  range = {begin, end, {0, whole.greatest()}, 1};
  begin_range(tile);
  if (copy_ != nullptr) {  // it begins where the whole range does
    Value* skipped = c_.multiple(b_.CreateSub(begin, whole.begin), rhs_stride(0));
    Value* address = b_.CreateLoad(b_.getPtrTy(), rhs_pointer_);
    b_.CreateStore(b_.CreateGEP(c_.memory_type(type_), address, skipped), rhs_pointer_);
  }
  body();
  range = whole;
}

/// From where all of the tile counts, or up to there, one loop; at the border the rows, or columns,
/// join or leave one after another.
void ChainEmitter::emit_to_border(const ChainTile& tile) {
  const HalfPlane& half_plane = *contract_.half_plane;
  const AxisRange range = c_.range(contract_.k.front());
  const bool up_to_border = half_plane.low == contract_.k.front();
  const AxisId kept = half_plane.other(contract_.k.front());
  const std::int64_t length = length_of(kept, tile);
  // The first position at the border, of as many as the tile has rows or columns but one.
  const std::int64_t offset = up_to_border ? half_plane.offset + 1 : -half_plane.offset;
  Value* first = b_.CreateAdd(first_of(kept, tile), c_.i64(offset));
  Value* begin = c_.clamped(first, range);
  Value* end = c_.clamped(b_.CreateAdd(first, c_.i64(length - 1)), range);
  const auto whole = [&](Value* from, Value* to) {
    in_range(tile, from, to, [&] { loop(tile, levels(), 0); });
  };
  if (up_to_border) {
    whole(range.begin, begin);
    emit_border(tile, begin, end);
  } else {
    emit_border(tile, begin, end);
    whole(end, range.end);
  }
}

/// Steps that only some rows, or columns, count.
void ChainEmitter::emit_border(const ChainTile& tile, Value* begin, Value* end) {
  const HalfPlane& half_plane = *contract_.half_plane;
  const AxisId k = contract_.k.front();
  const bool up_to_border = half_plane.low == k;
  const AxisId kept = half_plane.other(k);
  Value* offset = c_.i64(up_to_border ? -half_plane.offset : half_plane.offset);
  const auto rows = static_cast<std::int64_t>(tile.rows.size());
  const std::int64_t vectors = vectors_of(tile);
  in_range(tile, begin, end, [&] {
    c_.loop(begin, end, 1, std::nullopt, [&](Value* position) {
      Value* border = b_.CreateSub(b_.CreateAdd(position, offset), first_of(kept, tile));
      border = kept == contract_.n ? lanes_beyond(border) : in_lanes(border);
      std::vector<Value*> masks;
      for (std::int64_t i = 0; i < rows * vectors; ++i) {
        if (kept == contract_.n) {
          masks.push_back(i < vectors ? lanes_inside(border, 0, i, up_to_border)
                                      : masks[static_cast<std::size_t>(i % vectors)]);
        } else {
          masks.push_back(i % vectors == 0 ? row_inside(border, i / vectors, up_to_border)
                                           : masks.back());
        }
      }
      step(tile, masks);
      advance(lhs_pointer_, lhs_.stride(k));
      advance(rhs_pointer_, rhs_stride(0));
    });
  });
}

}  // namespace gradus::codegen
