#include "ir/interpret_indexing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/float_environment.h"
#include "ir/indexing.h"
#include "ir/interpret_sums.h"

namespace gradus::ir {
namespace {

/// Calls visit(element of the indexed tensor, element of what is picked) for every element of what
/// is picked, in order. A position that does not exist is a fault, and the nearest one counts.
template <typename Visit>
void for_each_picked(const IndexedAxes& axes, const Shape& indexed, const Shape& picked,
                     const Tensor& indices, Fault& fault, Visit&& visit) {
  const IndexMap to_indices = index_map_of_indices(axes);
  const IndexMap to_indexed = index_map_of_indexed(axes, static_cast<std::int64_t>(indexed.size()));
  const auto follow = [](const IndexMap& map, const Index& index) {
    Index result;
    for (const AxisMap& axis : map) {
      result.push_back(axis.chosen ? 0 : index[at(axis.terms[0].axis)]);
    }
    return result;
  };
  std::int64_t element = 0;
  for_each_index(picked, [&](const Index& index) {
    const std::int64_t place = flat(indices.type.shape, follow(to_indices, index));
    const std::int64_t position = dispatch(indices.type.element, [&](auto zero) {
      return static_cast<std::int64_t>(indices.as<decltype(zero)>()[at(place)]);
    });
    const std::int64_t last = indexed[at(axes.axis)] - 1;
    if ((position < 0 || position > last) && fault.kind == FaultKind::none) {
      fault = {FaultKind::index_out_of_range, 0, element};
    }
    Index source = follow(to_indexed, index);
    source[at(axes.axis)] = std::clamp<std::int64_t>(position, 0, last);
    visit(flat(indexed, source), element++);
  });
}

/// Calls visit(elements as T) where T is the number type of x.
template <typename Visit>
void with_numbers(const Tensor& x, Visit&& visit) {
  dispatch(x.type.element, [&](auto zero) {
    if constexpr (!std::is_same_v<decltype(zero), bool>) visit(x.as<decltype(zero)>());
  });
}

/// Calls visit(element number of position 0, elements from position to position) for every line
/// along `axis`.
template <typename Visit>
void for_each_line(const Shape& shape, std::int64_t axis, Visit&& visit) {
  const std::int64_t step = row_major_strides(shape)[at(axis)];
  Shape first = shape;
  first[at(axis)] = std::min<std::int64_t>(first[at(axis)], 1);
  for_each_index(first, [&](const Index& index) { visit(flat(shape, index), step); });
}

/// NaN is greatest; equal to itself.
template <typename T>
bool is_less(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return false;
    if (std::isnan(b)) return true;
    return flush_subnormal(a) < flush_subnormal(b);
  }
  return a < b;
}

}  // namespace

Tensor interpret_gather(const Node& node, const Tensor& x, const Tensor& indices, Fault& fault) {
  Tensor result(node.types[0]);
  const auto size = at(byte_size(x.type.element));
  for_each_picked(indexed_axes(node.attributes, indices.type), x.type.shape, result.type.shape,
                  indices, fault, [&](std::int64_t from, std::int64_t to) {
                    std::memcpy(result.bytes.data() + at(to) * size,
                                x.bytes.data() + at(from) * size, size);
                  });
  return result;
}

Tensor interpret_scatter(const Node& node, const Tensor& updates, const Tensor& indices,
                         Fault& fault) {
  Tensor result(node.types[0]);
  with_numbers(updates, [&]<typename T>(std::span<const T> elements) {
    for_each_picked(indexed_axes(node.attributes, indices.type), result.type.shape,
                    updates.type.shape, indices, fault, [&](std::int64_t to, std::int64_t from) {
                      T& sum = result.as<T>()[at(to)];
                      sum = add(sum, elements[at(from)]);
                    });
  });
  return result;
}

Tensor interpret_cumulative(const Node& node, const Tensor& x) {
  const auto axis = node.attributes.get<std::int64_t>("axis");
  Tensor result(node.types[0]);
  with_numbers(x, [&]<typename T>(std::span<const T> elements) {
    for_each_line(x.type.shape, axis, [&](std::int64_t first, std::int64_t step) {
      T sum{0};
      for (std::int64_t i = 0; i < x.type.shape[at(axis)]; ++i) {
        sum = add(sum, elements[at(first + i * step)]);
        result.as<T>()[at(first + i * step)] = sum;
      }
    });
  });
  return result;
}

Tensor interpret_sort(const Node& node, const Tensor& x) {
  const auto axis = node.attributes.get<std::int64_t>("axis");
  const bool descending = node.attributes.get<bool>("descending");
  Tensor result(node.types[0]);
  with_numbers(x, [&]<typename T>(std::span<const T> elements) {
    for_each_line(x.type.shape, axis, [&](std::int64_t first, std::int64_t step) {
      std::vector<std::int32_t> order(at(x.type.shape[at(axis)]));
      std::iota(order.begin(), order.end(), 0);
      const auto value = [&](std::int32_t i) { return elements[at(first + i * step)]; };
      std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) {
        return descending ? is_less(value(b), value(a)) : is_less(value(a), value(b));
      });
      for (std::size_t i = 0; i < order.size(); ++i) {
        result.as<std::int32_t>()[at(first) + i * at(step)] = order[i];
      }
    });
  });
  return result;
}

}  // namespace gradus::ir
