#pragma once

// The constant matrices of `transform_tiles`: what the op multiplies, and how graph with it is
// built.

#include <cstdint>

#include "ir/expr.h"

namespace gradus::ir {

/// Integers over a common divisor.
struct TileMatrix {
  std::int64_t columns = 1;
  Integers numerators;  // row after row
  std::int64_t divisor = 1;

  [[nodiscard]] std::int64_t rows() const {
    return static_cast<std::int64_t>(numerators.size()) / columns;
  }
  [[nodiscard]] double entry(std::int64_t row, std::int64_t column) const;
  [[nodiscard]] TileMatrix transposed() const;
};

/// That of an op along axes of extent `columns`, at least 1.
[[nodiscard]] TileMatrix tile_matrix(const Attributes& attributes, std::int64_t columns);

/// The matrix times x along each of the axes. Transformations that differ in `use` are made apart
/// though they are equal.
[[nodiscard]] Expr transform_tiles(Expr x, Integers axes, const TileMatrix& matrix,
                                   std::int64_t use = 0);

}  // namespace gradus::ir
