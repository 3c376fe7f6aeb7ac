#include "ir/compositions/normalisation.h"

namespace gradus::ir {
namespace {

Integers leading_axes(Expr x) {
  Integers axes;
  for (std::int64_t axis = 0; axis + 1 < x.rank(); ++axis) axes.push_back(axis);
  return axes;
}

}  // namespace

Expr along_channels(Expr v, Expr x) { return broadcast(v, x.shape(), {x.rank() - 1}); }

Moments channel_moments(Expr x) {
  const Integers axes = leading_axes(x);
  const Expr mean_x = mean(x, axes);
  const Expr variance = mean(x * x, axes) - mean_x * mean_x;
  // Rounding may leave the variance of a constant channel below zero.
  return {mean_x, map("max", variance, full_like(variance, 0))};
}

Expr normalize_channels(Expr x, const ChannelAffine& affine, double epsilon) {
  Expr scale = map("rsqrt", affine.variance + epsilon);
  if (affine.gamma) scale = scale * *affine.gamma;
  const Expr scaled = x * along_channels(scale, x);
  if (!affine.mean) return affine.beta ? scaled + along_channels(*affine.beta, x) : scaled;
  const Expr moved = *affine.mean * scale;
  const Expr offset = affine.beta ? *affine.beta - moved : -moved;
  return scaled + along_channels(offset, x);
}

Expr normalize_squares(Expr x, double epsilon) {
  const Integers axes{x.rank() - 1};
  const Expr scale = map("rsqrt", mean(x * x, axes) + epsilon);
  return x * broadcast_reduced(scale, x.shape(), axes);
}

Expr normalize_groups(Expr x, std::int64_t groups, double epsilon) {
  const Shape shape = x.shape();
  Shape split = shape;
  split.back() = groups;
  split.push_back(shape.back() / groups);
  const Expr grouped = reshape(x, split);
  Integers axes;
  for (std::int64_t axis = 1; axis < grouped.rank(); ++axis) {
    if (axis != grouped.rank() - 2) axes.push_back(axis);
  }
  const Expr d = grouped - broadcast_reduced(mean(grouped, axes), split, axes);
  const Expr scale = map("rsqrt", mean(d * d, axes) + epsilon);
  return reshape(d * broadcast_reduced(scale, split, axes), shape);
}

Expr local_response(Expr x, std::int64_t radius, double bias, double alpha, double beta) {
  const std::int64_t last = x.rank() - 1;
  Integers border(x.shape().size(), 0);
  border.back() = radius;
  const Expr squares =
      pad(x * x, constant(*x.graph, x.element(), 0), border, border, Integers(border.size(), 0));
  const Expr sums = sum(windows(squares, {last}, {2 * radius + 1}, {1}, {1}), {last + 1});
  return x / map("pow", sums * alpha + bias, full_like(sums, beta));
}

}  // namespace gradus::ir
