#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/element_type.h"

namespace gradus {

/// Extents by axis, outermost first. An extent may be 0; rank 0 is a scalar.
using Shape = std::vector<std::int64_t>;

/// No tensor has more elements than this.
inline constexpr std::int64_t kMaximumElements = std::int64_t{1} << 40;

/// Product of the extents (1 for rank 0). Where it or a partial product is greater than
/// kMaximumElements, some number greater than that.
[[nodiscard]] std::int64_t element_count(const Shape& shape);
/// No extent is negative and the product of those that are not 0 is at most kMaximumElements.
[[nodiscard]] bool is_valid(const Shape& shape);

/// Row-major strides in elements.
[[nodiscard]] std::vector<std::int64_t> row_major_strides(const Shape& shape);

/// Element type and static shape of a tensor; written `f32[64,28]`, a scalar is `f32[]`.
struct TensorType {
  ElementType element = ElementType::f32;
  Shape shape;

  [[nodiscard]] std::int64_t rank() const { return static_cast<std::int64_t>(shape.size()); }
  [[nodiscard]] std::int64_t element_count() const { return gradus::element_count(shape); }
  [[nodiscard]] std::int64_t byte_size() const {
    return element_count() * gradus::byte_size(element);
  }
  friend bool operator==(const TensorType&, const TensorType&) = default;
};

[[nodiscard]] std::string to_string(const Shape& shape);
[[nodiscard]] std::string to_string(const TensorType& type);

/// Parses `f32[64,28]`; empty when malformed, negative, or not valid.
[[nodiscard]] std::optional<TensorType> parse_tensor_type(std::string_view text);

}  // namespace gradus
