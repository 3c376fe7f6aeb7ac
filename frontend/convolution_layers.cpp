#include <fmt/format.h>

#include <algorithm>

#include "frontend/layer_families.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

/// What a convolution layer reads of its settings: one entry per spatial axis.
struct Windows {
  ir::Integers kernel, stride, dilation;
  std::vector<Padding> padding;

  /// Padding by the extents of the input.
  explicit Windows(const LayerBuilder& b) : Windows(b, b.x().shape()) {}
  Windows(const LayerBuilder& b, const Shape& padded_for)
      : kernel(b.settings.integers("kernel")),
        stride(b.settings.integers("stride")),
        dilation(b.settings.integers("dilation")) {
    for (std::size_t i = 0; i < kernel.size(); ++i) {
      padding.push_back(padding_of(b, padded_for[i + 1], reach(i), stride[i]));
    }
  }
  [[nodiscard]] std::int64_t reach(std::size_t i) const {
    return ir::dilated(kernel[i], dilation[i]);
  }
  [[nodiscard]] std::int64_t spatial() const { return static_cast<std::int64_t>(kernel.size()); }
};

/// Examples first, then the spatial axes; the other axes of input and kernel are given.
ir::ConvolutionAxes channels_last(const Windows& windows, std::int64_t lhs_feature,
                                  std::int64_t rhs_in, std::int64_t rhs_out) {
  ir::ConvolutionAxes axes{0, lhs_feature, rhs_in, rhs_out, -1, -1, {}};
  for (std::int64_t i = 0; i < windows.spatial(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    axes.spatial.push_back({i + 1, i, windows.stride[at], windows.padding[at].low,
                            windows.padding[at].high, windows.dilation[at], 1});
  }
  return axes;
}

void need_outputs(const LayerBuilder& b, const Windows& windows) {
  for (std::size_t i = 0; i < windows.kernel.size(); ++i) {
    const std::int64_t places =
        b.x().shape()[i + 1] + windows.padding[i].low + windows.padding[i].high;
    if (places >= windows.reach(i)) continue;
    throw LayerError(
        fmt::format("has windows of {} places, but {}", windows.reach(i), b.inputs[0].describe()),
        "write \"padding\": \"same\"");
  }
}

Shape kernel_shape(const Windows& windows, std::int64_t in, std::int64_t out) {
  Shape shape(windows.kernel.begin(), windows.kernel.end());
  shape.push_back(in);
  shape.push_back(out);
  return shape;
}

/// The last axis as two: [first, extent / first].
Expr split_last(Expr x, std::int64_t first) {
  Shape shape = x.shape();
  const std::int64_t last = shape.back();
  shape.back() = first;
  shape.push_back(last / first);
  return ir::reshape(x, shape);
}
Expr merge_last(Expr x) {
  Shape shape = x.shape();
  const std::int64_t last = shape.back();
  shape.pop_back();
  shape.back() *= last;
  return ir::reshape(x, shape);
}

/// A layer uses tiles for kernels of 3 x 3 only.
bool suits(ir::ConvolutionAlgorithm algorithm, const ir::ConvolutionAxes& axes, const Shape& input,
           const Shape& kernel) {
  return admits(algorithm, axes, input, kernel) &&
         (algorithm == ir::ConvolutionAlgorithm::direct || (kernel[0] == 3 && kernel[1] == 3));
}

/// The algorithm of the fewest products that is expected to be faster than the direct sum: with
/// fewer channels the transforms of tiles cost more than the products they save; with few tiles and
/// many channels that of the kernel does.
ir::ConvolutionAlgorithm fastest(const Shape& kernel, const ir::ConvolutionAxes& axes,
                                 const Shape& input) {
  constexpr std::int64_t kLeastChannels = 16;
  constexpr std::int64_t kFewTiles = 32;  // of an example
  constexpr std::int64_t kManyPairs = 1 << 15;
  using enum ir::ConvolutionAlgorithm;
  ir::ConvolutionAlgorithm best = direct;
  if (std::min(kernel[2], kernel[3]) < kLeastChannels) return best;
  std::int64_t fewest = 0;
  for (const ir::ConvolutionAlgorithm candidate : {winograd_2x2, winograd_4x4}) {
    if (!suits(candidate, axes, input, kernel)) continue;
    const std::int64_t outputs = tile_outputs(candidate);
    std::int64_t tiles = 1;
    for (const ir::SpatialAxis& axis : axes.spatial) {
      const std::int64_t places = input[static_cast<std::size_t>(axis.lhs)];
      tiles *= (ir::output_extent(axis, places, 3) + outputs - 1) / outputs;
    }
    if (tiles < kFewTiles && kernel[2] * kernel[3] > kManyPairs) continue;
    const std::int64_t products = tiles * (outputs + 2) * (outputs + 2);
    if (best == direct || products < fewest) {
      best = candidate;
      fewest = products;
    }
  }
  return best;
}

/// What the layer's option says; "auto" knows the shapes of the layer only, so that a model has the
/// same bits with any batch on any machine.
ir::ConvolutionAlgorithm algorithm_of(const LayerBuilder& b, const ir::ConvolutionAxes& axes,
                                      const Shape& kernel) {
  const std::string& name = b.settings.choice("algorithm").name;
  for (const ir::ConvolutionAlgorithm algorithm : ir::kConvolutionAlgorithms) {
    if (name != to_string(algorithm)) continue;
    if (suits(algorithm, axes, b.x().shape(), kernel)) return algorithm;
    throw LayerError(fmt::format("computes by \"{}\", which needs a kernel of 3 x 3 without "
                                 "strides, dilations and groups",
                                 name),
                     "write \"algorithm\": \"auto\"");
  }
  return fastest(kernel, axes, b.x().shape());
}

template <int spatial>
Expr convolution(LayerBuilder& b) {
  need_image(b, spatial);
  const Windows windows(b);
  need_outputs(b, windows);
  const std::int64_t channels = b.x().shape().back();
  const std::int64_t filters = b.settings.integer("filters");
  const std::int64_t groups = b.settings.integer("groups");
  if (channels % groups != 0 || filters % groups != 0) {
    throw LayerError(
        fmt::format("has {} filters in {} groups, but {}", filters, groups, b.inputs[0].describe()),
        "groups must divide the channels and the filters");
  }
  const Expr kernel = weights(b, "kernel", kernel_shape(windows, channels / groups, filters));
  if (groups == 1) {
    auto axes = channels_last(windows, spatial + 1, spatial, spatial + 1);
    if (spatial == 2) axes.algorithm = algorithm_of(b, axes, kernel.shape());
    return add_bias_and_activate(b, ir::conv(b.x(), kernel, axes));
  }
  ir::ConvolutionAxes axes = channels_last(windows, spatial + 2, spatial, spatial + 2);
  axes.lhs_group = spatial + 1;
  axes.rhs_group = spatial + 1;
  if (spatial == 2) axes.algorithm = algorithm_of(b, axes, kernel.shape());
  const Expr y = ir::conv(split_last(b.x(), groups), split_last(kernel, groups), axes);
  return add_bias_and_activate(b, merge_last(y));
}

/// x [batch, ..., channels] with a kernel [..., channels, multiplier], every channel by itself.
Expr depthwise(LayerBuilder& b, Expr kernel, const Windows& windows) {
  const std::int64_t spatial = windows.spatial();
  Shape shape = kernel.shape();
  shape.insert(shape.end() - 1, 1);  // one input feature per group
  ir::ConvolutionAxes axes = channels_last(windows, spatial + 2, spatial + 1, spatial + 2);
  axes.lhs_group = spatial + 1;
  axes.rhs_group = spatial;
  Shape single = b.x().shape();
  single.push_back(1);
  return merge_last(ir::conv(ir::reshape(b.x(), single), ir::reshape(kernel, shape), axes));
}

Expr depthwise_convolution(LayerBuilder& b) {
  need_image(b, 2);
  const Windows windows(b);
  need_outputs(b, windows);
  const Expr kernel = weights(
      b, "kernel", kernel_shape(windows, b.x().shape().back(), b.settings.integer("multiplier")));
  return add_bias_and_activate(b, depthwise(b, kernel, windows));
}

Expr separable_convolution(LayerBuilder& b) {
  need_image(b, 2);
  const Windows windows(b);
  need_outputs(b, windows);
  const std::int64_t channels = b.x().shape().back();
  const std::int64_t multiplier = b.settings.integer("multiplier");
  const Expr each = weights(b, "depthwise", kernel_shape(windows, channels, multiplier));
  const Expr mixing =
      weights(b, "pointwise", {1, 1, channels * multiplier, b.settings.integer("filters")});
  const Expr x = depthwise(b, each, windows);
  const ir::ConvolutionAxes points{
      0, 3, 2, 3, -1, -1, {{.lhs = 1, .rhs = 0}, {.lhs = 2, .rhs = 1}}};
  return add_bias_and_activate(b, ir::conv(x, mixing, points));
}

/// The transpose of a convolution with the same numbers: x stands in the place of its result.
template <int spatial>
Expr transposed_convolution(LayerBuilder& b) {
  need_image(b, spatial);
  Shape places = b.x().shape();  // of the result
  const ir::Integers& kernel_extents = b.settings.integers("kernel");
  const ir::Integers& stride = b.settings.integers("stride");
  const ir::Integers& dilation = b.settings.integers("dilation");
  const bool same = b.settings.choice("padding").name == "same";
  for (std::size_t i = 0; i < spatial; ++i) {
    const std::int64_t reach = ir::dilated(kernel_extents[i], dilation[i]);
    std::int64_t& extent = places[i + 1];
    extent = same ? extent * stride[i] : (extent - 1) * stride[i] + std::max(reach, stride[i]);
  }
  const Windows windows(b, places);
  const Expr kernel = weights(
      b, "kernel", kernel_shape(windows, b.settings.integer("filters"), b.x().shape().back()));
  ir::ConvolutionAxes axes{0, spatial + 1, spatial + 1, spatial, -1, -1, {}};
  ir::Integers taps;
  for (std::int64_t i = 0; i < spatial; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const Padding padding = windows.padding[at];
    const std::int64_t places_given = ir::dilated(b.x().shape()[at + 1], stride[at]);
    const std::int64_t result = places[at + 1] - (same ? 0 : padding.low + padding.high);
    if (result < 1) {
      throw LayerError(fmt::format("has more padding than places, but {}", b.inputs[0].describe()));
    }
    const std::int64_t low = windows.reach(at) - 1 - padding.low;
    axes.spatial.push_back({i + 1, i, 1, low, result - places_given - low + windows.reach(at) - 1,
                            dilation[at], stride[at]});
    taps.push_back(i);
  }
  return add_bias_and_activate(b, ir::conv(b.x(), ir::reverse(kernel, taps), axes));
}

std::vector<Option> window_options(std::int64_t spatial) {
  return {extents_option("kernel", {}, spatial, "Extents of the windows.", {1, 1e6}),
          extents_option("stride", 1, spatial, "From window to window.", {1, 1e6}),
          padding_option(), extents_option("dilation", 1, spatial, "From tap to tap.", {1, 1e6})};
}

Option algorithm_option() {
  return choice_option(
      "algorithm", "auto", "How the sums are computed; each way has its own rounding.",
      {{"auto",
        "What is expected to be fastest. Tiles are for kernels of 3 x 3 without strides, dilations "
        "and groups, from 16 input channels and filters on; not if there are fewer than 32 tiles "
        "and more than 32768 pairs of channels. Of both tiles, those with fewer products.",
        {}},
       {"direct", "One sum of products over taps and channels.", {}},
       {"winograd_2x2", "F(2x2, 3x3): 16 products for 4 outputs instead of 36.", {}},
       {"winograd_4x4", "F(4x4, 3x3): 36 products for 16 outputs instead of 144.", {}}});
}

Option filters_option() {
  return integer_option("filters", {}, "Channels of the result.", {1, 1e9});
}
Option multiplier_option() {
  return integer_option("multiplier", std::int64_t{1}, "Results per input channel.", {1, 1e6});
}

Layer convolution_layer(std::int64_t spatial, ir::Expr (*build)(LayerBuilder&), std::string example,
                        std::string input) {
  std::vector<Option> sums{integer_option("groups", std::int64_t{1},
                                          "Parts of the channels that do not mix.", {1, 1e9})};
  if (spatial == 2) sums.push_back(algorithm_option());
  return {fmt::format("conv{}d", spatial),
          fmt::format("Convolution over {}, then an activation. The kernel has axes taps, input "
                      "channels, filters.",
                      spatial == 1   ? "a sequence [length, channels]"
                      : spatial == 2 ? "images [height, width, channels]"
                                     : "volumes [depth, height, width, channels]"),
          1,
          1,
          joined({{filters_option()}, window_options(spatial), sums, weight_options()}),
          build,
          std::move(example),
          {std::move(input)}};
}

Layer transposed_layer(std::int64_t spatial, ir::Expr (*build)(LayerBuilder&), std::string example,
                       std::string input) {
  return {fmt::format("conv{}d_transpose", spatial),
          "The transpose of a convolution: stride times as many places. The kernel has axes taps, "
          "filters, input channels.",
          1,
          1,
          joined({{filters_option()}, window_options(spatial), weight_options()}),
          build,
          std::move(example),
          {std::move(input)}};
}

}  // namespace

std::vector<Layer> convolution_layers() {
  return {
      convolution_layer(1, convolution<1>,
                        R"({"layer": "conv1d", "filters": 4, "kernel": 3, "dilation": 2})",
                        "f32[9,2]"),
      convolution_layer(
          2, convolution<2>,
          R"({"layer": "conv2d", "filters": 4, "kernel": 3, "stride": 2, "padding": "same"})",
          "f32[6,5,2]"),
      convolution_layer(3, convolution<3>,
                        R"({"layer": "conv3d", "filters": 3, "kernel": [1, 2, 2], "groups": 1})",
                        "f32[2,3,4,2]"),
      transposed_layer(1, transposed_convolution<1>,
                       R"({"layer": "conv1d_transpose", "filters": 3, "kernel": 3, "stride": 2})",
                       "f32[4,2]"),
      transposed_layer(2, transposed_convolution<2>,
                       R"({"layer": "conv2d_transpose", "filters": 3, "kernel": 4, "stride": 2,
 "padding": "same"})",
                       "f32[3,4,2]"),
      transposed_layer(3, transposed_convolution<3>,
                       R"({"layer": "conv3d_transpose", "filters": 2, "kernel": 2, "stride": 2})",
                       "f32[2,1,3,2]"),
      {"depthwise_conv2d",
       "Convolution of every channel by itself. The kernel has axes taps, channels, multiplier.",
       1,
       1,
       joined({window_options(2), {multiplier_option()}, weight_options()}),
       depthwise_convolution,
       R"({"layer": "depthwise_conv2d", "kernel": 3, "multiplier": 2})",
       {"f32[5,4,3]"}},
      {"separable_conv2d",
       "A depthwise convolution, then one of single places that mixes the channels.",
       1,
       1,
       joined({{filters_option()},
               window_options(2),
               {multiplier_option()},
               weight_options({"depthwise", "pointwise"})}),
       separable_convolution,
       R"({"layer": "separable_conv2d", "filters": 4, "kernel": 3})",
       {"f32[5,4,3]"}},
  };
}

}  // namespace gradus::frontend
