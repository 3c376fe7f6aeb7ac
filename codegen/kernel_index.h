#pragma once

// What can be said of affine indices without running a kernel: bounds, exactness, injectivity.

#include <cstdint>
#include <span>
#include <vector>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// The least and the greatest value of an index; none when least > greatest.
struct IndexBounds {
  std::int64_t least = 0;
  std::int64_t greatest = -1;
  [[nodiscard]] bool empty() const { return least > greatest; }
  [[nodiscard]] bool contains(const IndexBounds& other) const {
    return other.empty() || (least <= other.least && other.greatest <= greatest);
  }
  [[nodiscard]] bool disjoint(const IndexBounds& other) const {
    return empty() || other.empty() || greatest < other.least || other.greatest < least;
  }
};

/// Of a picked dimension, whatever its extent.
inline constexpr IndexBounds kAnyPosition{0, std::int64_t{1} << 62};

[[nodiscard]] inline bool is_picked(const Access& access, std::size_t dimension) {
  return access.pick && static_cast<std::size_t>(access.pick->dimension) == dimension;
}

/// Of an axis in the terms of an index; 0 where it is in none.
[[nodiscard]] std::int64_t coefficient_of(const Affine& affine, AxisId axis);

/// Elements in row-major memory of that shape between neighbours along `axis`, of indices without a
/// division along it.
[[nodiscard]] std::int64_t element_stride(std::span<const Affine> index, const Shape& shape,
                                          AxisId axis);

/// Every axis over its whole extent.
[[nodiscard]] std::vector<IndexBounds> whole_axes(const std::vector<Axis>& axes);

/// Bounds of the exact values of `affine` while axis a is within axes[a].
[[nodiscard]] IndexBounds bounds_of(const Affine& affine, std::span<const IndexBounds> axes);

/// Bounds of each index of `access` where all `guards` hold; all are empty when they never do.
[[nodiscard]] std::vector<IndexBounds> bounds_of(const Access& access,
                                                 std::span<const Guard> guards,
                                                 std::span<const IndexBounds> axes);

/// Whether the division in `affine` leaves no remainder wherever `guards` hold.
[[nodiscard]] bool divides(const Affine& affine, std::span<const Guard> guards);

/// determined[a]: two points that differ in axis a access different elements, whatever the other
/// axes are. An index is read as a number of mixed radix: its axis of greatest coefficient is
/// determined if all lesser terms together move the index by less than that coefficient.
[[nodiscard]] std::vector<bool> determined_axes(const Access& access,
                                                const std::vector<Axis>& axes);

}  // namespace gradus::codegen
