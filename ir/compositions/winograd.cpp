#include "ir/compositions/winograd.h"

namespace gradus::ir {
namespace {

constexpr std::int64_t kTaps = 3;

struct Matrix {
  Integers numerators;  // row after row
  std::int64_t divisor = 1;
};

/// B', G and A' of F(outputs, 3).
struct Filtering {
  std::int64_t outputs;
  Matrix input, filter, output;
  [[nodiscard]] std::int64_t places() const { return outputs + kTaps - 1; }
};

const Filtering& filtering(ConvolutionAlgorithm algorithm) {
  static const Filtering two{2,
                             {{1, 0, -1, 0,  //
                               0, 1, 1, 0,   //
                               0, -1, 1, 0,  //
                               0, 1, 0, -1}},
                             {{2, 0, 0,   //
                               1, 1, 1,   //
                               1, -1, 1,  //
                               0, 0, 2},
                              2},
                             {{1, 1, 1, 0,  //
                               0, 1, -1, -1}}};
  static const Filtering four{4,
                              {{2, -3, -4, 3,  2, 0,  //
                                0, -2, 1,  5,  2, 0,  //
                                0, 2,  -5, 1,  2, 0,  //
                                0, -4, -2, 4,  2, 0,  //
                                0, 1,  -2, -1, 2, 0,  //
                                0, 2,  -3, -4, 3, 2},
                               2},
                              {{15, 0, 0,     //
                                5, 5, 5,      //
                                -5, 5, -5,    //
                                -16, -8, -4,  //
                                1, -2, 4,     //
                                0, 0, 15},
                               15},
                              {{8, 8, 8,  8, 8,   0,  //
                                0, 8, -8, 4, -16, 0,  //
                                0, 8, 8,  2, 32,  0,  //
                                0, 8, -8, 1, -64, 8},
                               8}};
  return tile_outputs(algorithm) == 2 ? two : four;
}

Expr transformed(Expr x, Integers axes, const Matrix& matrix) {
  return apply(
      "transform_tiles", {x},
      {{"axes", std::move(axes)}, {"matrix", matrix.numerators}, {"divisor", matrix.divisor}});
}

/// Tiles of lhs [places, places, batch, tiles, tiles, feature]; the last ones may reach beyond.
Expr input_tiles(Expr lhs, const ConvolutionAxes& axes, const Filtering& f, const Shape& tiles) {
  Expr x =
      transpose(lhs, {axes.lhs_batch, axes.spatial[0].lhs, axes.spatial[1].lhs, axes.lhs_feature});
  Integers low(4), high(4);
  for (std::size_t i = 0; i < 2; ++i) {
    low[i + 1] = axes.spatial[i].low;
    high[i + 1] = tiles[i] * f.outputs + kTaps - 1 - x.shape()[i + 1] - low[i + 1];
  }
  x = pad(x, constant(*x.graph, x.element(), 0), low, high, Integers(4));
  x = windows(x, {1, 2}, {f.places(), f.places()}, {f.outputs, f.outputs}, {1, 1});
  return transpose(x, {3, 4, 0, 1, 2, 5});
}

}  // namespace

Expr winograd(Expr lhs, Expr rhs, const ConvolutionAxes& axes) {
  const Filtering& f = filtering(axes.algorithm);
  Shape outputs, tiles;
  for (const SpatialAxis& axis : axes.spatial) {
    const std::int64_t places = lhs.shape()[static_cast<std::size_t>(axis.lhs)];
    outputs.push_back(output_extent(axis, places, kTaps));
    tiles.push_back((outputs.back() + f.outputs - 1) / f.outputs);
  }
  const Expr taps =
      transpose(rhs, {axes.spatial[0].rhs, axes.spatial[1].rhs, axes.rhs_in, axes.rhs_out});
  const Expr x = transformed(input_tiles(lhs, axes, f, tiles), {0, 1}, f.input);
  const Expr w = transformed(taps, {0, 1}, f.filter);
  const Expr products = dot(x, w, {{0, 1}, {0, 1}, {5}, {2}});
  // [batch, tiles, outputs, tiles, outputs, feature]: the outputs in their order.
  const Expr y = transformed(transpose(products, {2, 3, 0, 4, 1, 5}), {2, 4}, f.output);
  Shape shape{y.shape()[0], tiles[0] * f.outputs, tiles[1] * f.outputs, y.shape()[5]};
  const Expr covered = reshape(y, shape);
  if (shape[1] == outputs[0] && shape[2] == outputs[1]) return covered;
  shape[1] = outputs[0];
  shape[2] = outputs[1];
  return slice(covered, Integers(4), shape, Integers(4, 1));
}

}  // namespace gradus::ir
