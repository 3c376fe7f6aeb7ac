#include <algorithm>

#include "ir/ops/families.h"
#include "ir/tile_matrix.h"

namespace gradus::ir {
namespace {

/// A kernel computes a tile in registers.
constexpr std::int64_t kMostTileElements = 64;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::vector<TensorType> infer_transform(const InferContext& context) {
  TensorType type = context.operands[0];
  const Integers& axes = context.attributes.get<Integers>("axes");
  check_axes(axes, type.rank());
  if (axes.empty() || !is_float(type.element)) {
    throw TypeError("needs f32 or f64 and an axis, found " + to_string(type) + " and axes " +
                    to_string(axes));
  }
  const std::int64_t extent = type.shape[at(axes[0])];
  const std::int64_t divisor = context.attributes.get<std::int64_t>("divisor");
  const auto entries = static_cast<std::int64_t>(context.attributes.get<Integers>("matrix").size());
  if (divisor < 1) throw TypeError("the divisor is at least 1, found " + std::to_string(divisor));
  if (extent < 1 || entries == 0 || entries % extent != 0 || entries > kMostTileElements) {
    throw TypeError("a matrix of " + std::to_string(entries) + " entries for an axis of extent " +
                    std::to_string(extent));
  }
  std::int64_t elements = 1;
  for (std::int64_t axis : axes) {
    if (type.shape[at(axis)] != extent) {
      throw TypeError("axes " + to_string(axes) + " of one extent, found " + to_string(type));
    }
    elements *= std::max(extent, entries / extent);
    if (elements > kMostTileElements) throw TypeError("a tile of too many elements");
    type.shape[at(axis)] = entries / extent;
  }
  return {type};
}

/// Row `row` of the matrix times `x`: what is multiplied by 1 is added first, in order, then the
/// other terms, in order. The first term is multiplied, so that the result is flushed.
Scalar product(ScalarBuilder& b, const TileMatrix& matrix, std::int64_t row,
               const std::vector<Scalar>& x) {
  Integers columns;
  for (const bool ones : {true, false}) {
    for (std::int64_t column = 0; column < matrix.columns; ++column) {
      const double entry = matrix.entry(row, column);
      if (entry != 0 && (entry == 1) == ones) columns.push_back(column);
    }
  }
  const ElementType type = x[0].type();
  if (columns.empty()) return b.constant(type, 0);
  Scalar sum;
  for (std::int64_t column : columns) {
    const double entry = matrix.entry(row, column);
    const Scalar& term = x[at(column)];
    if (sum.builder == nullptr) {
      sum = entry == 1 && columns.size() > 1 ? term : term * entry;
    } else if (entry == 1 || entry == -1) {
      sum = entry == 1 ? sum + term : sum - term;
    } else {
      sum = fma(b.constant(type, entry), term, sum);
    }
  }
  return sum;
}

std::vector<Scalar> record_transform(ScalarBuilder& b, std::span<const Scalar> tile,
                                     const Shape& extents, const Attributes& attributes) {
  const TileMatrix matrix = tile_matrix(attributes, extents[0]);
  std::vector<Scalar> values(tile.begin(), tile.end());
  std::int64_t inner = static_cast<std::int64_t>(tile.size());
  std::int64_t outer = 1;
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    inner /= matrix.columns;
    std::vector<Scalar> next(at(outer * matrix.rows() * inner));
    for (std::int64_t o = 0; o < outer; ++o) {
      for (std::int64_t i = 0; i < inner; ++i) {
        std::vector<Scalar> line;
        for (std::int64_t c = 0; c < matrix.columns; ++c) {
          line.push_back(values[at((o * matrix.columns + c) * inner + i)]);
        }
        for (std::int64_t r = 0; r < matrix.rows(); ++r) {
          next[at((o * matrix.rows() + r) * inner + i)] = product(b, matrix, r, line);
        }
      }
    }
    values = std::move(next);
    outer *= matrix.rows();
  }
  return values;
}

Cotangents transform_vjp(const VjpContext& c) {
  const std::int64_t extent = c.x[0].shape()[at(c.attributes.get<Integers>("axes")[0])];
  const TileMatrix matrix = tile_matrix(c.attributes, extent).transposed();
  return {transform_tiles(c.dy, c.attributes.get<Integers>("axes"), matrix,
                          c.attributes.get<std::int64_t>("use"))};
}

}  // namespace

std::vector<OpRecord> tile_ops() {
  std::vector<OpRecord> ops;
  ops.push_back(
      {.name = "transform_tiles",
       .doc =
           "Multiplies a small constant matrix into x along each of the axes, the first one "
           "first: y[.., r, ..] = sum over c of matrix[r, c] / divisor * x[.., c, ..]. Entries 0 "
           "are left out. In a row the terms with entry 1 come first, then the others, each in "
           "order; an entry 1 or -1 adds or subtracts, others are one fma; the first term is a "
           "product unless its entry is 1 and more follow. A primitive, because kernels hold a "
           "whole tile in registers.",
       .attributes = {{"axes", AttributeKind::integers, "Ascending, of one extent."},
                      {"matrix", AttributeKind::integers, "Row after row, as long as the extent."},
                      {"divisor", AttributeKind::integer,
                       "Of all entries; quotients are rounded to x's type.",
                       Attribute(std::int64_t{1})},
                      {"use", AttributeKind::integer,
                       "Tells apart equal values of which each is made where it is used.",
                       Attribute(std::int64_t{0})}},
       .infer = infer_transform,
       .vjp = transform_vjp,
       .compute = TileComputation{record_transform},
       .smooth = true,
       .examples = {
           {{"f32[4,3,4,5]"}, "axes = [0,2], matrix = [1,0,-1,0,0,1,1,0,0,-1,1,0,0,1,0,-1]"},
           {{"f32[3,3,20]"}, "axes = [0,1], matrix = [2,0,0,1,1,1,1,-1,1,0,0,2], divisor = 2"},
           {{"f64[2,3]"}, "axes = [1], matrix = [3,0,-5], divisor = 15"}}});
  return ops;
}

}  // namespace gradus::ir
