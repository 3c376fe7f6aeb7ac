#include "base/tensor_type.h"

#include <charconv>

namespace gradus {

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (std::int64_t extent : shape) {
    if (__builtin_mul_overflow(count, extent, &count)) return kMaximumElements + 1;
  }
  return count;
}

bool is_valid(const Shape& shape) {
  std::int64_t product = 1;  // of the extents that are not 0, so that strides cannot overflow
  for (std::int64_t extent : shape) {
    if (extent < 0 || extent > kMaximumElements / product) return false;
    product *= extent > 0 ? extent : 1;
  }
  return true;
}

std::vector<std::int64_t> row_major_strides(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t axis = shape.size(); axis-- > 1;) {
    strides[axis - 1] = strides[axis] * shape[axis];
  }
  return strides;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis > 0) text += ',';
    text += std::to_string(shape[axis]);
  }
  return text + "]";
}

std::string to_string(const TensorType& type) {
  return std::string(to_string(type.element)) + to_string(type.shape);
}

std::optional<TensorType> parse_tensor_type(std::string_view text) {
  const std::size_t open = text.find('[');
  if (open == std::string_view::npos || text.back() != ']') return std::nullopt;
  const std::optional<ElementType> element = parse_element_type(text.substr(0, open));
  if (!element) return std::nullopt;
  TensorType type{*element, {}};
  const char* at = text.data() + open + 1;
  const char* const end = text.data() + text.size() - 1;
  while (at != end) {
    std::int64_t extent = 0;
    const auto [next, error] = std::from_chars(at, end, extent);
    if (error != std::errc{}) return std::nullopt;
    type.shape.push_back(extent);
    if (next == end) break;
    if (*next != ',' || next + 1 == end) return std::nullopt;
    at = next + 1;
  }
  if (!is_valid(type.shape)) return std::nullopt;
  return type;
}

}  // namespace gradus
