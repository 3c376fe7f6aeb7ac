#include "ir/indexing.h"

namespace gradus::ir {
namespace {

AxisMap along(std::int64_t axis) { return {{{axis, 1}}, 0, 1}; }

}  // namespace

IndexedAxes indexed_axes(const Attributes& attributes, const TensorType& indices) {
  const auto batch = attributes.get<std::int64_t>("batch");
  return {batch, attributes.get<std::int64_t>("axis"), indices.rank() - batch};
}

IndexMap index_map_of_indices(const IndexedAxes& axes) {
  IndexMap map;
  for (std::int64_t axis = 0; axis < axes.batch; ++axis) map.push_back(along(axis));
  for (std::int64_t place = 0; place < axes.places; ++place) {
    map.push_back(along(axes.axis + place));
  }
  return map;
}

IndexMap index_map_of_indexed(const IndexedAxes& axes, std::int64_t rank) {
  IndexMap map;
  for (std::int64_t axis = 0; axis < rank; ++axis) {
    if (axis == axes.axis) {
      map.push_back({{}, 0, 1, /*chosen=*/true});
    } else {
      map.push_back(along(axis < axes.axis ? axis : axis - 1 + axes.places));
    }
  }
  return map;
}

}  // namespace gradus::ir
