#include "codegen/emit_chain.h"

#include <algorithm>

#include "base/check.h"

namespace gradus::codegen {

using llvm::Value;

ChainEmitter::ChainEmitter(EmitContext& context, const Contract& contract, ElementType type,
                           std::int64_t width, const RhsCopy* copy)
    : c_(context),
      b_(context.b),
      contract_(contract),
      type_(type),
      width_(width),
      lhs_(context, contract.lhs, {}),
      rhs_(context, contract.rhs, {}),
      copy_(copy) {}

std::vector<Value*> ChainEmitter::emit(const ChainTile& tile, std::vector<Value*> sums) {
  sums_.clear();
  for (Value* sum : sums) sums_.push_back(start(vector_type(), sum));
  ahead_ = ahead(tile);
  if (contract_.half_plane) {
    emit_half_plane(tile);
  } else {
    emit_range(tile);
  }
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = b_.CreateLoad(vector_type(), sums_[i]);
  return sums;
}

void ChainEmitter::emit_range(const ChainTile& tile) {
  begin_range(tile);
  loop(tile, levels(), 0);
}

void ChainEmitter::begin_range(const ChainTile& tile) {
  std::vector<Value*> before;
  for (AxisId axis : contract_.k) {
    Value*& position = c_.positions[static_cast<std::size_t>(axis)];
    before.push_back(position);
    position = c_.range(axis).begin;
  }
  lhs_.forget_base();
  lhs_pointer_ = start(b_.getPtrTy(), lhs_.address());
  rhs_pointer_ = start(b_.getPtrTy(), rhs_address(tile));
  for (std::size_t i = 0; i < before.size(); ++i) {
    c_.positions[static_cast<std::size_t>(contract_.k[i])] = before[i];
  }
}

std::int64_t ChainEmitter::rhs_stride(std::size_t i) const {
  if (copy_ != nullptr) return copy_->stride(i);
  if (contract_.panel == 0) return rhs_.stride(contract_.k[i]);
  std::int64_t stride = contract_.panel;
  for (std::size_t inner = i + 1; inner < contract_.k.size(); ++inner) {
    stride *= c_.axis(contract_.k[inner]).extent;
  }
  return stride;
}

std::vector<ChainEmitter::Level> ChainEmitter::levels() const {
  std::vector<Level> result;  // innermost first
  bool whole = true;          // the axes so far
  for (std::size_t i = contract_.k.size(); i-- > 0;) {
    const AxisId axis = contract_.k[i];
    const AxisRange& range = c_.range(axis);
    Level level{nullptr, std::nullopt, lhs_.stride(axis), rhs_stride(i)};
    if (range.fixed()) level.fixed = range.greatest();
    level.trips = level.fixed ? static_cast<Value*>(c_.i64(*level.fixed))
                              : b_.CreateSub(range.end, range.begin);
    const bool all = level.fixed == c_.axis(axis).extent;
    const bool single = level.fixed == 1;
    if (single && !(result.empty() && i == 0)) {
      whole = whole && all;
      continue;
    }
    if (!result.empty() && whole && level.lhs == result.back().lhs * *result.back().fixed &&
        level.rhs == result.back().rhs * *result.back().fixed) {
      Level& inner = result.back();
      inner.trips = b_.CreateMul(level.trips, inner.trips);
      inner.fixed = level.fixed ? std::optional(*level.fixed * *inner.fixed) : std::nullopt;
    } else {
      GRADUS_CHECK(result.empty() || result.back().fixed, "a range of k inside of another");
      result.push_back(level);
    }
    whole = whole && all;
  }
  std::reverse(result.begin(), result.end());
  return result;
}

Value* ChainEmitter::rhs_address(const ChainTile& tile) {
  if (copy_ != nullptr) return copy_->address();
  rhs_.forget_base();
  if (contract_.panel == 0) return rhs_.address();
  Value* panel = b_.CreateUDiv(tile.n, c_.i64(contract_.panel));
  Value* offset = b_.CreateURem(tile.n, c_.i64(contract_.panel));
  std::int64_t length = contract_.panel;
  for (std::size_t i = 0; i < contract_.k.size(); ++i) {
    const AxisId axis = contract_.k[i];
    length *= c_.axis(axis).extent;
    Value* position = c_.positions[static_cast<std::size_t>(axis)];
    offset = b_.CreateAdd(offset, b_.CreateMul(position, c_.i64(rhs_stride(i))));
  }
  offset = b_.CreateAdd(offset, b_.CreateMul(panel, c_.i64(length)));
  return b_.CreateGEP(c_.memory_type(type_), rhs_.address(), offset);
}

void ChainEmitter::loop(const ChainTile& tile, const std::vector<Level>& nest, std::size_t level) {
  const Level& own = nest[level];
  c_.loop(c_.i64(0), own.trips, 1, own.fixed, [&](Value* trip) {
    if (level + 1 == nest.size()) {
      if (own.lhs == 1) fetch_next_rows(tile, trip);
      if (tile.beside) tile.beside(trip);
      step(tile);
      advance(lhs_pointer_, own.lhs);
      advance(rhs_pointer_, own.rhs);
      return;
    }
    loop(tile, nest, level + 1);
    const Level& inner = nest[level + 1];
    advance(lhs_pointer_, own.lhs - *inner.fixed * inner.lhs);
    advance(rhs_pointer_, own.rhs - *inner.fixed * inner.rhs);
  });
}

void ChainEmitter::step(const ChainTile& tile, const std::vector<Value*>& masks) {
  const std::int64_t vectors = vectors_of(tile);
  const Used used = used_.value_or(Used{0, vectors});
  const llvm::Align alignment(static_cast<std::uint64_t>(byte_size(type_)));
  Value* a = b_.CreateLoad(b_.getPtrTy(), lhs_pointer_);
  Value* row = b_.CreateLoad(b_.getPtrTy(), rhs_pointer_);
  std::vector<Value*> y;
  for (std::int64_t v = used.begin; v < used.end; ++v) y.push_back(rhs_vector(tile, row, v));
  fetch_ahead(a, row);
  auto number = static_cast<std::size_t>(used.begin);
  for (std::int64_t offset : tile.rows) {
    Value* element = b_.CreateAlignedLoad(c_.memory_type(type_), displaced(a, offset), alignment);
    Value* x = c_.splat(element, static_cast<int>(width_));
    for (Value* column : y) {
      llvm::AllocaInst* sum = sums_[number];
      Value* old = b_.CreateLoad(vector_type(), sum);
      Value* more = b_.CreateIntrinsic(vector_type(), llvm::Intrinsic::fma, {x, column, old});
      if (!masks.empty()) more = b_.CreateSelect(masks[number], more, old);
      b_.CreateStore(more, sum);
      ++number;
    }
    number += static_cast<std::size_t>(vectors - used.end + used.begin);
  }
}

void ChainEmitter::fetch_next_rows(const ChainTile& tile, Value* step) {
  const bool far = is_far(c_.kernel, contract_.lhs);
  if (!tile.even || tile.rows.size() < 2 || contract_.chunk.size > 0 || !far) return;
  const auto rows = static_cast<std::int64_t>(tile.rows.size());
  const std::int64_t distance = tile.rows[1] * byte_size(type_);
  const std::int64_t in_turn = kCacheLine / byte_size(type_);
  Value* row = b_.CreateAnd(step, c_.i64(in_turn - 1));
  Value* here = b_.CreateGEP(b_.getInt8Ty(), b_.CreateLoad(b_.getPtrTy(), lhs_pointer_),
                             b_.CreateMul(row, c_.i64(distance)));
  for (std::int64_t first = 0; first < rows; first += in_turn) {
    fetch_line(b_, here, (rows + first) * distance, Purpose::read);
  }
}

ChainEmitter::Ahead ChainEmitter::ahead(const ChainTile& tile) const {
  if (contract_.chunk.size == 0) return {};
  const auto axis = static_cast<std::size_t>(contract_.chunk.axis);
  const std::int64_t size = byte_size(type_);
  const std::int64_t piece = c_.range(contract_.k[axis]).greatest();  // pieces are nearly equal
  const AxisRange& n = c_.range(contract_.n);
  Value* last = b_.CreateICmpEQ(b_.CreateAdd(tile.n, c_.i64(tile.columns)), n.end);
  Ahead result;
  if (contract_.panel == 0 && copy_ == nullptr) {
    const std::int64_t panel = tile.columns * size;
    Value* before = b_.CreateMul(b_.CreateSub(tile.n, n.begin), c_.i64(size));
    Value* first = b_.CreateSub(c_.i64(piece * rhs_stride(axis) * size), before);
    result.rhs = b_.CreateSelect(last, first, c_.i64(panel));
    const std::int64_t lines = (panel + kCacheLine - 1) / kCacheLine;
    const auto height = static_cast<std::int64_t>(tile.rows.size());
    const AxisRange& m = c_.range(contract_.m());
    const bool shared = tile.even && contract_.order == TileOrder::columns_outer;
    const std::int64_t tiles = shared ? (m.greatest() + height - 1) / height : 1;
    result.lines = (lines + tiles - 1) / tiles;
    const std::int64_t turns = (lines + result.lines - 1) / result.lines;
    if (turns > 1) {
      Value* rows = b_.CreateSub(c_.position(contract_.m()), m.begin);
      Value* turn = b_.CreateURem(b_.CreateUDiv(rows, c_.i64(height)), c_.i64(turns));
      Value* share = b_.CreateMul(turn, c_.i64(result.lines * kCacheLine));
      result.rhs = b_.CreateAdd(result.rhs, share);
    }
  }
  // Rows of lhs that are columns in memory: those of a tile lie in one line or two. The first
  // columns of rhs meet them first, line after line, where no chunk before has fetched them.
  const bool columns = lhs_.stride(contract_.m()) == 1;
  if (columns && lhs_.stride(contract_.k.back()) * size >= kCacheLine) {
    Value* next = c_.i64(piece * lhs_.stride(contract_.k[axis]) * size);
    Value* first = b_.CreateICmpEQ(tile.n, n.begin);
    Value* beside = b_.CreateSelect(first, c_.i64(kCacheLine), c_.i64(0));
    result.lhs = b_.CreateSelect(last, next, beside);
  }
  return result;
}

void ChainEmitter::fetch_ahead(Value* lhs, Value* rhs) {
  for (std::int64_t line = 0; line < ahead_.lines; ++line) {
    fetch_line(b_, b_.CreateGEP(b_.getInt8Ty(), rhs, ahead_.rhs), line * kCacheLine, Purpose::read);
  }
  if (ahead_.lhs == nullptr) return;
  fetch_line(b_, b_.CreateGEP(b_.getInt8Ty(), lhs, ahead_.lhs), 0, Purpose::read);
}

Value* ChainEmitter::rhs_vector(const ChainTile& tile, Value* row, std::int64_t vector) const {
  Value* address = displaced(row, vector * width_);
  const llvm::Align alignment(static_cast<std::uint64_t>(byte_size(type_)));
  Value* mask = column_mask(tile.columns, vector);
  if (mask == nullptr) return b_.CreateAlignedLoad(vector_type(), address, alignment);
  return b_.CreateMaskedLoad(vector_type(), address, alignment, mask,
                             llvm::Constant::getNullValue(vector_type()));
}

Value* ChainEmitter::column_mask(std::int64_t columns, std::int64_t vector) const {
  if ((vector + 1) * width_ <= columns) return nullptr;
  std::vector<llvm::Constant*> exists;
  for (std::int64_t lane = 0; lane < width_; ++lane) {
    exists.push_back(b_.getInt1(vector * width_ + lane < columns));
  }
  return width_ == 1 ? exists[0] : llvm::ConstantVector::get(exists);
}

Value* ChainEmitter::displaced(Value* address, std::int64_t elements) const {
  if (elements == 0) return address;
  return b_.CreateConstGEP1_64(b_.getInt8Ty(), address,
                               static_cast<std::uint64_t>(elements * byte_size(type_)));
}

llvm::Type* ChainEmitter::vector_type() const {
  return EmitContext::lanes_type(c_.register_type(type_), static_cast<int>(width_));
}

void ChainEmitter::advance(llvm::AllocaInst* pointer, std::int64_t elements) {
  if (elements == 0) return;
  b_.CreateStore(displaced(b_.CreateLoad(b_.getPtrTy(), pointer), elements), pointer);
}

llvm::AllocaInst* ChainEmitter::start(llvm::Type* type, Value* value) {
  llvm::AllocaInst* variable = c_.variable(type);
  b_.CreateStore(value, variable);
  return variable;
}

}  // namespace gradus::codegen
