#pragma once

// The loop over k of a register tile: chains of fma in registers. Private to the emitter.

#include <vector>

#include "codegen/emit_memory.h"
#include "codegen/emit_rhs_copy.h"

namespace gradus::codegen {

/// A register tile: its rows as elements of lhs from the first one, its first column, its columns.
struct ChainTile {
  std::vector<std::int64_t> rows;
  llvm::Value* n = nullptr;
  std::int64_t columns = 0;
};

/// Per step of k one row of vectors from rhs, then per row of the tile one element of lhs in all
/// lanes and one fma per vector. All strides are constants; axes of k that step through memory as
/// one are one loop. Where k is cut into chunks, the chains of one fetch what those of the next are
/// going to read: lines of many rows, which the processor does not see coming.
class ChainEmitter {
 public:
  /// `width` elements of `type` are a vector. With `copy` that is read instead of rhs.
  ChainEmitter(EmitContext& context, const Contract& contract, ElementType type, std::int64_t width,
               const RhsCopy* copy);

  /// The sums after all positions in the current ranges of k, from `sums`: row by row, vector by
  /// vector. The positions of batch, of the tile's first row and of n are the context's.
  [[nodiscard]] std::vector<llvm::Value*> emit(const ChainTile& tile,
                                               std::vector<llvm::Value*> sums);

  /// Elements of lhs from one position of `axis` to the next.
  [[nodiscard]] std::int64_t lhs_stride(AxisId axis) const { return lhs_.stride(axis); }
  /// Lanes of vector number `vector` that exist of `columns`; null: all.
  [[nodiscard]] llvm::Value* column_mask(std::int64_t columns, std::int64_t vector) const;

 private:
  /// One loop: what the addresses of lhs and rhs move by from trip to trip, in elements.
  struct Level {
    llvm::Value* trips = nullptr;
    std::optional<std::int64_t> fixed;
    std::int64_t lhs = 0;
    std::int64_t rhs = 0;
  };
  [[nodiscard]] std::vector<Level> levels() const;
  /// Elements of rhs from one position of k[i] to the next.
  [[nodiscard]] std::int64_t rhs_stride(std::size_t i) const;
  [[nodiscard]] llvm::Value* rhs_address(const ChainTile& tile);
  [[nodiscard]] llvm::Value* rhs_vector(const ChainTile& tile, llvm::Value* row,
                                        std::int64_t vector) const;
  [[nodiscard]] llvm::Value* displaced(llvm::Value* address, std::int64_t elements) const;
  [[nodiscard]] llvm::Type* vector_type() const;
  void step(const ChainTile& tile);
  void fetch_next_piece(llvm::Value* lhs, llvm::Value* rhs, std::int64_t vectors);
  void loop(const ChainTile& tile, const std::vector<Level>& nest, std::size_t level);
  void advance(llvm::AllocaInst* pointer, std::int64_t elements);
  [[nodiscard]] llvm::AllocaInst* start(llvm::Type* type, llvm::Value* value);

  EmitContext& c_;
  llvm::IRBuilder<>& b_;
  const Contract& contract_;
  ElementType type_;
  std::int64_t width_;
  Reference lhs_;
  Reference rhs_;
  const RhsCopy* copy_;
  // Variables of the chain being emitted.
  llvm::AllocaInst* lhs_pointer_ = nullptr;
  llvm::AllocaInst* rhs_pointer_ = nullptr;
  std::vector<llvm::AllocaInst*> sums_;
};

}  // namespace gradus::codegen
