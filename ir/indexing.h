#pragma once

// Which axes gather, scatter_add, cumulative_sum and arg_sort work along.

#include <cstdint>

#include "base/tensor_type.h"
#include "ir/attributes.h"
#include "ir/index_map.h"

namespace gradus::ir {

/// The axes of an indexed tensor [batch, before, extent, inside], whose axis number `axis` has
/// `extent` positions; of indices [batch, places], which name such positions; and of what they
/// pick, [batch, before, places, inside]. Each stands for any number of axes.
struct IndexedAxes {
  std::int64_t batch = 0;   // leading axes that all three have
  std::int64_t axis = 0;    // batch and before
  std::int64_t places = 0;  // axes of the indices behind those of the batch

  /// Axes of what is picked by where they come from.
  [[nodiscard]] std::int64_t first_inside() const { return axis + places; }
};
/// From attributes `axis` and `batch` and the type of the indices.
[[nodiscard]] IndexedAxes indexed_axes(const Attributes& attributes, const TensorType& indices);

/// Where the element of the indices lies for an element of what they pick.
[[nodiscard]] IndexMap index_map_of_indices(const IndexedAxes& axes);
/// Where the element of the indexed tensor, of rank `rank`, lies; `axis` is chosen.
[[nodiscard]] IndexMap index_map_of_indexed(const IndexedAxes& axes, std::int64_t rank);

}  // namespace gradus::ir
