#include "ir/compositions/winograd.h"

#include <algorithm>

#include "ir/tile_matrix.h"

namespace gradus::ir {
namespace {

constexpr std::int64_t kTaps = 3;

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

/// B', G and A' of F(outputs, 3).
struct Filtering {
  std::int64_t outputs;
  TileMatrix input, filter, output;
  [[nodiscard]] std::int64_t places() const { return outputs + kTaps - 1; }
};

const Filtering& filtering(ConvolutionAlgorithm algorithm) {
  static const Filtering two{2,
                             {4,
                              {1, 0, -1, 0,  //
                               0, 1, 1, 0,   //
                               0, -1, 1, 0,  //
                               0, 1, 0, -1}},
                             {kTaps,
                              {2, 0, 0,   //
                               1, 1, 1,   //
                               1, -1, 1,  //
                               0, 0, 2},
                              2},
                             {4,
                              {1, 1, 1, 0,  //
                               0, 1, -1, -1}}};
  static const Filtering four{4,
                              {6,
                               {2, -3, -4, 3,  2, 0,  //
                                0, -2, 1,  5,  2, 0,  //
                                0, 2,  -5, 1,  2, 0,  //
                                0, -4, -2, 4,  2, 0,  //
                                0, 1,  -2, -1, 2, 0,  //
                                0, 2,  -3, -4, 3, 2},
                               2},
                              {kTaps,
                               {15, 0, 0,     //
                                5, 5, 5,      //
                                -5, 5, -5,    //
                                -16, -8, -4,  //
                                1, -2, 4,     //
                                0, 0, 15},
                               15},
                              {6,
                               {8, 8, 8,  8, 8,   0,  //
                                0, 8, -8, 4, -16, 0,  //
                                0, 8, 8,  2, 32,  0,  //
                                0, 8, -8, 1, -64, 8},
                               8}};
  return tile_outputs(algorithm) == 2 ? two : four;
}

/// Windows of x [batch, places, places, feature] that begin every `step` places, `low` before the
/// first one, as many as `tiles` says, with zeros beyond x:
/// [size, size, batch, tiles, tiles, feature].
Expr tiles_of(Expr x, const Integers& low, std::int64_t size, std::int64_t step,
              const Shape& tiles) {
  Integers before(4), behind(4);
  for (std::size_t i = 0; i < 2; ++i) {
    before[i + 1] = low[i];
    behind[i + 1] = (tiles[i] - 1) * step + size - x.shape()[i + 1] - low[i];
  }
  x = pad(x, constant(*x.graph, x.element(), 0), before, behind, Integers(4));
  x = windows(x, {1, 2}, {size, size}, {step, step}, {1, 1});
  return transpose(x, {3, 4, 0, 1, 2, 5});
}

/// How many tiles cover each extent.
Shape tile_counts(const Shape& extents, const Filtering& f) {
  Shape tiles;
  for (std::int64_t extent : extents) tiles.push_back((extent + f.outputs - 1) / f.outputs);
  return tiles;
}

/// Y = A'[(G w G') * (B' x B)]A.
Expr convolved(Expr lhs, Expr rhs, const ConvolutionAxes& axes, const Integers& low,
               const Shape& outputs) {
  const Filtering& f = filtering(axes.algorithm);
  const Shape tiles = tile_counts(outputs, f);
  const Expr x = transform_tiles(tiles_of(lhs, low, f.places(), f.outputs, tiles), {0, 1}, f.input);
  const Expr w = transform_tiles(transpose(rhs, {1, 2, 0, 3}), {0, 1}, f.filter);
  const Expr products = dot(x, w, {{0, 1}, {0, 1}, {5}, {2}});
  // [batch, tiles, outputs, tiles, outputs, feature]: the outputs in their order.
  const Expr y = transform_tiles(transpose(products, {2, 3, 0, 4, 1, 5}), {2, 4}, f.output);
  Shape shape{y.shape()[0], tiles[0] * f.outputs, tiles[1] * f.outputs, y.shape()[5]};
  const Expr covered = reshape(y, shape);
  if (shape[1] == outputs[0] && shape[2] == outputs[1]) return covered;
  shape[1] = outputs[0];
  shape[2] = outputs[1];
  return slice(covered, Integers(4), shape, Integers(4, 1));
}

/// The sums of so many pairs of features stay in a second cache while a task makes tiles.
constexpr std::int64_t kFewPairs = 64 * 64;
/// A sum is worth keeping for so many products.
constexpr std::int64_t kPairsPerTile = 4;
/// Then a part is a task: a chain of this many tiles is long enough to be one.
constexpr std::int64_t kTileChain = 32;

/// Whether a task makes tiles for its own sums of so many pairs of features: they fit, there are
/// parts enough to be tasks, and each sum has products enough.
bool sums_stay(std::int64_t pairs, std::int64_t images, const Shape& tiles) {
  constexpr std::int64_t kLeastParts = 8;
  const Shape extents{images, tiles[0], tiles[1]};
  const std::int64_t parts = contraction_order(extents, {.chain = kTileChain}).parts.count;
  return parts >= kLeastParts && pairs >= kSmallContraction &&
         pairs <= std::min(kFewPairs, element_count(extents) * kPairsPerTile);
}

/// What differentiating that gives for w: G'[(B' x B) * (A dy A')]G, summed over the tiles; lhs has
/// the features in the place of the batch and the other way round, rhs is dy. Where sums
/// stay in their task the tiles of x are made again, else they are those of the forward pass.
Expr filter_gradient(Expr lhs, Expr rhs, const ConvolutionAxes& axes, const Integers& low) {
  const Filtering& f = filtering(axes.algorithm);
  const Shape tiles = tile_counts({rhs.shape()[1], rhs.shape()[2]}, f);
  const Expr images = transpose(lhs, {3, 1, 2, 0});
  const bool few = sums_stay(images.shape()[3] * rhs.shape()[3], images.shape()[0], tiles);
  const Expr x = transform_tiles(tiles_of(images, low, f.places(), f.outputs, tiles), {0, 1},
                                 f.input, few ? 1 : 0);
  const Expr dy = transform_tiles(tiles_of(rhs, {0, 0}, f.outputs, f.outputs, tiles), {0, 1},
                                  f.output.transposed());
  const PartRule rule = few ? PartRule{.chain = kTileChain} : PartRule{};
  const Expr sums = dot(x, dy, {{0, 1}, {0, 1}, {2, 3, 4}, {2, 3, 4}}, rule);
  return transpose(transform_tiles(sums, {0, 1}, f.filter.transposed()), {2, 0, 1, 3});
}

}  // namespace

Expr winograd(Expr lhs, Expr rhs, const ConvolutionAxes& axes) {
  Integers low;
  Shape taps, outputs;
  for (const SpatialAxis& axis : axes.spatial) {
    low.push_back(axis.low);
    taps.push_back(rhs.shape()[at(axis.rhs)]);
    outputs.push_back(output_extent(axis, lhs.shape()[at(axis.lhs)], taps.back()));
  }
  const Expr x =
      transpose(lhs, {axes.lhs_batch, axes.spatial[0].lhs, axes.spatial[1].lhs, axes.lhs_feature});
  const Expr w =
      transpose(rhs, {axes.rhs_in, axes.spatial[0].rhs, axes.spatial[1].rhs, axes.rhs_out});
  return taps == Shape{kTaps, kTaps} ? convolved(x, w, axes, low, outputs)
                                     : filter_gradient(x, w, axes, low);
}

}  // namespace gradus::ir
