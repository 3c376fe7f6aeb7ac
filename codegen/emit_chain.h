#pragma once

// The loop over k of a register tile: chains of fma in registers. Private to the emitter.

#include <functional>
#include <optional>
#include <vector>

#include "codegen/emit_memory.h"
#include "codegen/emit_rhs_copy.h"

namespace gradus::codegen {

/// A register tile: its rows as elements of lhs from the first one, its first column, its columns.
struct ChainTile {
  std::vector<std::int64_t> rows;
  llvm::Value* n = nullptr;
  std::int64_t columns = 0;
  bool even = false;  // rows follow each other at one distance, from tile to tile too
  std::function<void(llvm::Value* step)> beside = {};  // emitted in every step
};

/// Per step of k one row of vectors from rhs, then per row of the tile one element of lhs in all
/// lanes and one fma per vector. All strides are constants; axes of k that step through memory as
/// one are one loop. Chains fetch what the processor does not see coming, lines of many rows: those
/// of the next tile, or where k is cut into chunks, what the chains of the next one are going to
/// read.
class ChainEmitter {
 public:
  /// `width` elements of `type` are a vector. With `copy` that is read instead of rhs.
  ChainEmitter(EmitContext& context, const Contract& contract, ElementType type, std::int64_t width,
               const RhsCopy* copy);

  /// The sums after all positions in the current ranges of k, from `sums`: row by row, vector by
  /// vector. The positions of batch, of the tile's first row and of n are the context's. With a
  /// half-plane the rows of the tile are neighbours along m.
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
  /// Adds what the ranges of k hold.
  void emit_range(const ChainTile& tile);
  /// Points to the factors at the beginning of the ranges of k.
  void begin_range(const ChainTile& tile);

  // With a half-plane (emit_half_plane.cpp):
  void emit_half_plane(const ChainTile& tile);
  /// The border does not depend on k: sums are whole or nothing.
  void emit_inside(const ChainTile& tile);
  /// For rows, or columns, the border is a position of k.
  void emit_to_border(const ChainTile& tile);
  void emit_border(const ChainTile& tile, llvm::Value* begin, llvm::Value* end);
  void emit_near(const ChainTile& tile);
  /// What is outside becomes +0.
  void clear_outside(const ChainTile& tile);
  /// Emits `body` with [begin, end) as the range of k, and points to the factors at its beginning.
  void in_range(const ChainTile& tile, llvm::Value* begin, llvm::Value* end,
                const std::function<void()>& body);
  [[nodiscard]] llvm::Value* first_of(AxisId axis, const ChainTile& tile) const;
  [[nodiscard]] std::int64_t length_of(AxisId axis, const ChainTile& tile) const;
  /// How far lanes of vector 0 are beyond the one at which the border lies in row 0.
  [[nodiscard]] llvm::Value* lanes_beyond(llvm::Value* border) const;
  /// The lanes of vector `vector` of row `row` that are not beyond the border, which moves on by a
  /// lane per row, or with `from_border` those that are not before it.
  [[nodiscard]] llvm::Value* lanes_inside(llvm::Value* beyond, std::int64_t row,
                                          std::int64_t vector, bool from_border) const;
  /// All lanes or none: whether the row is one up to row `border`, or from there.
  [[nodiscard]] llvm::Value* row_inside(llvm::Value* border, std::int64_t row,
                                        bool from_border) const;
  /// A position, or one far away on the same side, in every lane.
  [[nodiscard]] llvm::Value* in_lanes(llvm::Value* border) const;

  [[nodiscard]] std::int64_t vectors_of(const ChainTile& tile) const {
    return (tile.columns + width_ - 1) / width_;
  }
  /// Elements of rhs from one position of k[i] to the next.
  [[nodiscard]] std::int64_t rhs_stride(std::size_t i) const;
  [[nodiscard]] llvm::Value* rhs_address(const ChainTile& tile);
  [[nodiscard]] llvm::Value* rhs_vector(const ChainTile& tile, llvm::Value* row,
                                        std::int64_t vector) const;
  [[nodiscard]] llvm::Value* displaced(llvm::Value* address, std::int64_t elements) const;
  [[nodiscard]] llvm::Type* vector_type() const;
  /// Adds to the lanes of `masks`, one per sum; where there are none, to all.
  void step(const ChainTile& tile, const std::vector<llvm::Value*>& masks = {});
  /// A line of lhs per step, of each row of the next tile in turn: all of them once in as many
  /// steps as a line has elements.
  void fetch_next_rows(const ChainTile& tile, llvm::Value* step);
  /// What the chains of a tile fetch where k is cut into chunks, in bytes beyond what a step reads:
  /// its share of the lines of the next panel of rhs, and beside the last panel of a chunk its rows
  /// of lhs in the next one.
  struct Ahead {
    llvm::Value* lhs = nullptr;  // null: nothing
    llvm::Value* rhs = nullptr;
    std::int64_t lines = 0;  // of rhs in a step
  };
  [[nodiscard]] Ahead ahead(const ChainTile& tile) const;
  void fetch_ahead(llvm::Value* lhs, llvm::Value* rhs);
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
  /// Vectors of the tile that steps add to; none: all.
  struct Used {
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };
  std::optional<Used> used_;
  Ahead ahead_;
};

}  // namespace gradus::codegen
