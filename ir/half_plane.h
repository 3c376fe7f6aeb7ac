#pragma once

// Products that a `dot` leaves out: those on one side of a straight border through two of its axes,
// as of triangular matrices and of what is causal.

#include <cstdint>
#include <optional>

#include "ir/expr.h"

namespace gradus::ir {

/// The axes of a product of matrices, beside those of a batch: lhs's free one, rhs's free one, and
/// the contracted one.
enum class MatrixAxis : std::uint8_t { row, column, contracted };

/// The products with index(low) <= index(high) + offset. Linear in both operands, so that gradients
/// are products with the same half-plane, whose axes have other parts there.
struct HalfPlane {
  MatrixAxis low = MatrixAxis::column;
  MatrixAxis high = MatrixAxis::row;
  std::int64_t offset = 0;

  [[nodiscard]] bool admits(std::int64_t row, std::int64_t column, std::int64_t contracted) const;
  /// The same products where axis `axis` of this contraction is number `axes[axis]` of another.
  [[nodiscard]] HalfPlane renamed(MatrixAxis row, MatrixAxis column, MatrixAxis contracted) const;
  /// Of the same sums with exchanged operands.
  [[nodiscard]] HalfPlane exchanged() const;
  friend bool operator==(const HalfPlane&, const HalfPlane&) = default;
};

/// That of a contraction's attributes; empty: all products count. Throws TypeError.
[[nodiscard]] std::optional<HalfPlane> half_plane(const Attributes& attributes);
/// As the value of attribute "half_plane".
[[nodiscard]] Integers to_attribute(const std::optional<HalfPlane>& half_plane);

/// A product of matrices that counts what the half-plane admits; without one as `dot` of expr.h.
Expr dot(Expr lhs, Expr rhs, DotAxes axes, const PartRule& rule,
         const std::optional<HalfPlane>& half_plane);

}  // namespace gradus::ir
