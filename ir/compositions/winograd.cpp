#include "ir/compositions/winograd.h"

namespace gradus::ir {
namespace {

constexpr std::int64_t kOutputs = 2;       // of a tile, along each axis
constexpr std::int64_t kPlaces = 4;        // that they read
const Integers kInputMatrix{1, 0,  -1, 0,  //
                            0, 1,  1,  0,  //
                            0, -1, 1,  0,  //
                            0, 1,  0,  -1};
const Integers kFilterMatrix{2, 0,  0,  // over 2
                             1, 1,  1,  //
                             1, -1, 1,  //
                             0, 0,  2};
const Integers kOutputMatrix{1, 1, 1,  0,  //
                             0, 1, -1, -1};

Expr transformed(Expr x, Integers axes, const Integers& matrix, std::int64_t divisor = 1) {
  return apply("transform_tiles", {x},
               {{"axes", std::move(axes)}, {"matrix", matrix}, {"divisor", divisor}});
}

/// Tiles of lhs [4, 4, batch, tiles, tiles, feature]; the last ones may reach beyond the places.
Expr input_tiles(Expr lhs, const ConvolutionAxes& axes, const Shape& tiles) {
  Expr x =
      transpose(lhs, {axes.lhs_batch, axes.spatial[0].lhs, axes.spatial[1].lhs, axes.lhs_feature});
  Integers low(4), high(4);
  for (std::size_t i = 0; i < 2; ++i) {
    low[i + 1] = axes.spatial[i].low;
    high[i + 1] = tiles[i] * kOutputs + kPlaces - kOutputs - x.shape()[i + 1] - low[i + 1];
  }
  x = pad(x, constant(*x.graph, x.element(), 0), low, high, Integers(4));
  x = windows(x, {1, 2}, {kPlaces, kPlaces}, {kOutputs, kOutputs}, {1, 1});
  return transpose(x, {3, 4, 0, 1, 2, 5});
}

}  // namespace

Expr winograd(Expr lhs, Expr rhs, const ConvolutionAxes& axes) {
  Shape outputs, tiles;
  for (const SpatialAxis& axis : axes.spatial) {
    const std::int64_t places = lhs.shape()[static_cast<std::size_t>(axis.lhs)];
    outputs.push_back(output_extent(axis, places, 3));
    tiles.push_back((outputs.back() + kOutputs - 1) / kOutputs);
  }
  const Expr taps =
      transpose(rhs, {axes.spatial[0].rhs, axes.spatial[1].rhs, axes.rhs_in, axes.rhs_out});
  const Expr x = transformed(input_tiles(lhs, axes, tiles), {0, 1}, kInputMatrix);
  const Expr w = transformed(taps, {0, 1}, kFilterMatrix, 2);
  const Expr products = dot(x, w, {{0, 1}, {0, 1}, {5}, {2}});
  // [batch, tiles, 2, tiles, 2, output]: the outputs in their order.
  const Expr y = transformed(transpose(products, {2, 3, 0, 4, 1, 5}), {2, 4}, kOutputMatrix);
  Shape shape{y.shape()[0], tiles[0] * kOutputs, tiles[1] * kOutputs, y.shape()[5]};
  const Expr covered = reshape(y, shape);
  if (shape[1] == outputs[0] && shape[2] == outputs[1]) return covered;
  shape[1] = outputs[0];
  shape[2] = outputs[1];
  return slice(covered, Integers(4), shape, Integers(4, 1));
}

}  // namespace gradus::ir
