#include "ir/convolution.h"

#include <algorithm>

#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

void check_all_axes(Integers axes, std::int64_t rank, std::string_view side) {
  std::sort(axes.begin(), axes.end());
  check_axes(axes, rank);
  if (static_cast<std::int64_t>(axes.size()) != rank) {
    throw TypeError("every axis of " + std::string(side) + " needs a part, found " +
                    to_string(axes) + " of " + std::to_string(rank));
  }
}

void check_numbers(const SpatialAxis& axis) {
  const auto positive = [](std::int64_t n) { return n >= 1 && n <= kMaximumElements; };
  const auto bounded = [](std::int64_t n) {
    return n >= -kMaximumElements && n <= kMaximumElements;
  };
  if (!positive(axis.stride) || !positive(axis.window_dilation) || !positive(axis.base_dilation)) {
    throw TypeError("strides and dilations of a convolution are at least 1");
  }
  if (!bounded(axis.low) || !bounded(axis.high)) throw TypeError("padding beyond all extents");
}

std::vector<TensorType> infer_conv(const InferContext& context) {
  const TensorType& lhs = context.operands[0];
  const TensorType& rhs = context.operands[1];
  if (lhs.element != rhs.element || !is_float(lhs.element)) {
    throw TypeError("conv needs two operands of one floating-point type, found " + to_string(lhs) +
                    " and " + to_string(rhs));
  }
  const ConvolutionAxes axes = convolution_axes(context.attributes);
  Integers lhs_all{axes.lhs_batch, axes.lhs_feature};
  Integers rhs_all{axes.rhs_in, axes.rhs_out};
  for (const SpatialAxis& axis : axes.spatial) {
    lhs_all.push_back(axis.lhs);
    rhs_all.push_back(axis.rhs);
    check_numbers(axis);
  }
  if (axes.grouped()) {
    lhs_all.push_back(axes.lhs_group);
    rhs_all.push_back(axes.rhs_group);
  }
  check_all_axes(lhs_all, lhs.rank(), "lhs");
  check_all_axes(rhs_all, rhs.rank(), "rhs");
  const auto match = [&](std::int64_t a, std::int64_t b, std::string_view what) {
    if (lhs.shape[at(a)] == rhs.shape[at(b)]) return;
    throw TypeError(std::string(what) + " differ: axis " + std::to_string(a) + " of " +
                    to_string(lhs) + " and axis " + std::to_string(b) + " of " + to_string(rhs));
  };
  if (!admits(axes.algorithm, axes, lhs.shape, rhs.shape)) {
    throw TypeError(
        "tiles need two spatial axes of three taps or outputs, without strides, dilations and "
        "groups");
  }
  match(axes.lhs_feature, axes.rhs_in, "input features");
  if (axes.grouped()) match(axes.lhs_group, axes.rhs_group, "groups");
  TensorType result{lhs.element, {lhs.shape[at(axes.lhs_batch)]}};
  for (const SpatialAxis& axis : axes.spatial) {
    const std::int64_t places = lhs.shape[at(axis.lhs)];
    const std::int64_t taps = rhs.shape[at(axis.rhs)];
    if (taps == 0) throw TypeError("a window without taps: " + to_string(rhs));
    if (places > kMaximumElements / axis.base_dilation ||
        taps > kMaximumElements / axis.window_dilation) {
      throw TypeError("a convolution beyond all extents");
    }
    result.shape.push_back(output_extent(axis, places, taps));
  }
  if (axes.grouped()) result.shape.push_back(lhs.shape[at(axes.lhs_group)]);
  result.shape.push_back(rhs.shape[at(axes.rhs_out)]);
  return {result};
}

/// Brings result axis i to axis to[i].
Expr to_axes(Expr x, const Integers& to) {
  Integers permutation(to.size());
  for (std::size_t i = 0; i < to.size(); ++i) {
    permutation[at(to[i])] = static_cast<std::int64_t>(i);
  }
  return std::is_sorted(permutation.begin(), permutation.end()) ? x : transpose(x, permutation);
}

/// dlhs: dy convolved with the reversed taps, inputs and outputs exchanged; the stride becomes the
/// base dilation and the base dilation the stride.
Expr lhs_cotangent(const VjpContext& c, const ConvolutionAxes& axes) {
  const std::int64_t last = c.dy.rank() - 1;
  ConvolutionAxes back{0, last, axes.rhs_out, axes.rhs_in, -1, axes.rhs_group, {}};
  Integers to{axes.lhs_batch};
  Integers taps;
  for (std::size_t i = 0; i < axes.spatial.size(); ++i) {
    const SpatialAxis& axis = axes.spatial[i];
    const std::int64_t places = dilated(c.x[0].shape()[at(axis.lhs)], axis.base_dilation);
    const std::int64_t reach = dilated(c.x[1].shape()[at(axis.rhs)], axis.window_dilation);
    const std::int64_t outputs = dilated(c.dy.shape()[i + 1], axis.stride);
    const std::int64_t low = reach - 1 - axis.low;
    back.spatial.push_back({static_cast<std::int64_t>(i) + 1, axis.rhs, axis.base_dilation, low,
                            places - outputs - low + reach - 1, axis.window_dilation, axis.stride});
    to.push_back(axis.lhs);
    taps.push_back(axis.rhs);
  }
  if (axes.grouped()) {
    back.lhs_group = last - 1;
    to.push_back(axes.lhs_group);
  }
  to.push_back(axes.lhs_feature);
  std::sort(taps.begin(), taps.end());
  const Expr reversed = taps.empty() ? c.x[1] : reverse(c.x[1], taps);
  if (admits(axes.algorithm, back, c.dy.shape(), reversed.shape())) back.algorithm = axes.algorithm;
  return to_axes(conv(c.dy, reversed, back), to);
}

/// drhs: lhs convolved with dy, examples in the part of features and features in that of examples;
/// stride and window dilation change places.
Expr rhs_cotangent(const VjpContext& c, const ConvolutionAxes& axes) {
  const std::int64_t last = c.dy.rank() - 1;
  ConvolutionAxes back{axes.lhs_feature, axes.lhs_batch, 0, last, axes.lhs_group, -1, {}};
  Integers to{axes.rhs_in};
  for (std::size_t i = 0; i < axes.spatial.size(); ++i) {
    const SpatialAxis& axis = axes.spatial[i];
    const std::int64_t places = dilated(c.x[0].shape()[at(axis.lhs)], axis.base_dilation);
    const std::int64_t reach = dilated(c.x[1].shape()[at(axis.rhs)], axis.window_dilation);
    const std::int64_t outputs = dilated(c.dy.shape()[i + 1], axis.stride);
    back.spatial.push_back({axis.lhs, static_cast<std::int64_t>(i) + 1, axis.window_dilation,
                            axis.low, reach + outputs - 1 - places - axis.low, axis.stride,
                            axis.base_dilation});
    to.push_back(axis.rhs);
  }
  if (axes.grouped()) {
    back.rhs_group = last - 1;
    to.push_back(axes.rhs_group);
  }
  to.push_back(axes.rhs_out);
  if (admits(axes.algorithm, back, c.x[0].shape(), c.dy.shape())) {
    back.algorithm = axes.algorithm;
  }
  return to_axes(conv(c.x[0], c.dy, back), to);
}

Cotangents conv_vjp(const VjpContext& c) {
  if (element_count(c.dy.shape()) == 0) return {full_like(c.x[0], 0), full_like(c.x[1], 0)};
  const ConvolutionAxes axes = convolution_axes(c.attributes);
  return {lhs_cotangent(c, axes), rhs_cotangent(c, axes)};
}

}  // namespace

std::vector<OpRecord> convolution_ops() {
  const auto list = [](std::string_view name, std::string_view doc) {
    return AttributeSpec{name, AttributeKind::integers, doc, Attribute(Integers{})};
  };
  std::vector<OpRecord> ops;
  ops.push_back(
      {.name = "conv",
       .doc =
           "Convolution over any number of spatial axes, in the sense of machine learning: the "
           "taps are not reversed. Output y is the sum, over the input features and the taps k "
           "that count, of lhs at place (y * stride + k * window_dilation - low) / "
           "base_dilation times rhs; a tap counts where that division is exact, a place outside "
           "is the factor +0. The outputs for which the same taps count are one contraction "
           "(ir/order.h) in the order of rhs's axes; groups with one output feature are the sum "
           "of the products. With algorithm winograd_2x2 or winograd_4x4, tiles of outputs "
           "come from fewer products (ir/compositions/winograd.h), also in both gradients: other "
           "bits, and what is not finite reaches all outputs of its tile. "
           "The result has batch, spatial, group and output axes. Its three gradients are "
           "convolutions with other numbers, which is why it is a primitive.",
       .least_operands = 2,
       .most_operands = 2,
       .attributes =
           {{"lhs", AttributeKind::integers, "Axes of lhs: batch, feature, spatial ..."},
            {"rhs", AttributeKind::integers, "Axes of rhs: input, output, spatial ..."},
            list("group", "The group axis of lhs and of rhs, or none."),
            list("stride", "Per spatial axis; empty: 1."),
            list("low", "Padding before the first place; negative crops; empty: 0."),
            list("high", "Padding behind the last place."),
            list("window_dilation", "From tap to tap; empty: 1."),
            list("base_dilation", "From place to place; empty: 1."),
            {"algorithm", AttributeKind::text,
             "direct; winograd_2x2 or winograd_4x4, for two spatial axes of three taps or "
             "three outputs without strides, dilations and groups.",
             Attribute(std::string("direct"))}},
       .infer = infer_conv,
       .vjp = conv_vjp,
       .compute = ConvolutionComputation{},
       .smooth = true,
       .examples = {
           {{"f32[2,5,6,3]", "f32[3,3,3,4]"},
            "lhs = [0,3,1,2], rhs = [2,3,0,1], low = [1,1], high = [1,1]"},
           {{"f32[2,7,2]", "f32[3,2,40]"},
            "lhs = [0,2,1], rhs = [1,2,0], stride = [2], low = [1], high = [0]"},
           {{"f32[2,4,4,3]", "f32[3,2,3,9]"},
            "lhs = [0,3,1,2], rhs = [2,3,0,1], stride = [1,1], low = [2,0], high = [2,1], "
            "window_dilation = [1,2], base_dilation = [2,3]"},
           {{"f64[2,5,2,3]", "f64[3,2,3,2]"},
            "lhs = [0,3,1], rhs = [2,3,0], group = [2,1], stride = [2], low = [1], high = [1]"},
           {{"f32[2,6,5,7,1]", "f32[3,2,7,1,1]"},
            "lhs = [0,4,1,2], rhs = [3,4,0,1], group = [3,2], low = [1,0], high = [1,1]"},
           {{"f32[3,4]", "f32[4,30]"}, "lhs = [0,1], rhs = [0,1]"},
           {{"f32[2,5,6,2]", "f32[3,3,2,8]"},
            "lhs = [0,3,1,2], rhs = [2,3,0,1], low = [1,0], high = [1,2], algorithm = "
            "\"winograd_2x2\""},
           {{"f32[2,7,6,2]", "f32[3,3,2,8]"},
            "lhs = [0,3,1,2], rhs = [2,3,0,1], low = [0,1], high = [1,1], algorithm = "
            "\"winograd_4x4\""}}});
  return ops;
}

}  // namespace gradus::ir
