#pragma once

// Walking indices and adding in the order of ir/order.h. Private to the interpreter.

#include <algorithm>
#include <array>
#include <span>
#include <type_traits>
#include <vector>

#include "ir/attributes.h"
#include "ir/order.h"

namespace gradus::ir {

using Index = std::vector<std::int64_t>;

inline std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Calls `visit(index)` for every index of `shape` in row-major order.
template <typename Visit>
void for_each_index(const Shape& shape, Visit&& visit) {
  if (element_count(shape) == 0) return;
  Index index(shape.size(), 0);
  while (true) {
    visit(static_cast<const Index&>(index));
    std::size_t axis = shape.size();
    while (axis > 0 && ++index[axis - 1] == shape[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

inline std::int64_t flat(const Shape& shape, const Index& index) {
  std::int64_t position = 0;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    position = position * shape[axis] + index[axis];
  }
  return position;
}

template <typename T>
T add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) +
                          static_cast<std::make_unsigned_t<T>>(b));
  } else {
    return a + b;
  }
}

/// Calls `visit(kept index, operand index)` for every operand index with the axis `cut_axis`
/// limited to `range`, row-major.
template <typename Visit>
void for_each_in_block(const Shape& shape, const Integers& axes, std::int64_t cut_axis, Range range,
                       Visit&& visit) {
  Shape box = shape;
  if (cut_axis >= 0) box[at(cut_axis)] = range.size();
  for_each_index(box, [&](Index index) {
    if (cut_axis >= 0) index[at(cut_axis)] += range.begin;
    Index kept;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if (std::find(axes.begin(), axes.end(), static_cast<std::int64_t>(axis)) == axes.end()) {
        kept.push_back(index[axis]);
      }
    }
    visit(kept, index);
  });
}

/// One block of a sum, for all kept indices, added to nothing else.
template <typename T>
std::vector<T> sum_block(std::span<const T> x, const Shape& shape, const Integers& axes,
                         const Shape& kept_shape, const SumOrder& order, std::int64_t block) {
  using Lanes = std::array<T, kLanes>;
  std::vector<Lanes> chains(at(element_count(kept_shape)), Lanes{});
  for_each_in_block(shape, axes, order.block_axis, order.blocks(block),
                    [&](const Index& kept, const Index& index) {
                      const std::size_t lane = order.lanes ? at(index.back() % kLanes) : 0;
                      T& chain = chains[at(flat(kept_shape, kept))][lane];
                      chain = add(chain, x[at(flat(shape, index))]);
                    });
  std::vector<T> sums;
  for (Lanes& lanes : chains) {
    // A chain may end at -0, which adding an empty lane would change.
    for (std::size_t half = order.lanes ? kLanes / 2 : 0; half > 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) lanes[i] = add(lanes[i], lanes[i + half]);
    }
    sums.push_back(lanes[0]);
  }
  return sums;
}

inline Shape without(const Shape& shape, const Integers& axes) {
  Shape kept;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (std::find(axes.begin(), axes.end(), static_cast<std::int64_t>(axis)) == axes.end()) {
      kept.push_back(shape[axis]);
    }
  }
  return kept;
}

/// Block sums, blocks outermost.
template <typename T>
std::vector<T> block_sums(std::span<const T> x, const Shape& shape, const Integers& axes) {
  const SumOrder order = sum_order(shape, axes);
  std::vector<T> result;
  for (std::int64_t block = 0; block < order.blocks.count; ++block) {
    const std::vector<T> sums = sum_block(x, shape, axes, without(shape, axes), order, block);
    result.insert(result.end(), sums.begin(), sums.end());
  }
  return result;
}

/// The sums over `axes`: the only block itself, or the blocks added in order.
template <typename T>
std::vector<T> combine(std::span<const T> x, std::int64_t count);
template <typename T>
std::vector<T> sums(std::span<const T> x, const Shape& shape, const Integers& axes) {
  std::vector<T> blocks = block_sums(x, shape, axes);
  if (sum_order(shape, axes).blocks.count == 1) return blocks;
  return combine(std::span<const T>(blocks), element_count(without(shape, axes)));
}

/// Adds along the outermost axis of [blocks, count], one chain per element from +0.
template <typename T>
std::vector<T> combine(std::span<const T> x, std::int64_t count) {
  std::vector<T> result(at(count), T{});
  for (std::size_t i = 0; i < x.size(); ++i) {
    result[i % at(count)] = add(result[i % at(count)], x[i]);
  }
  return result;
}

}  // namespace gradus::ir
