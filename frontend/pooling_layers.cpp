#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "frontend/layer_families.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

/// The windows of a pooling layer along the spatial axes 1, 2, ...
struct Pool {
  ir::Integers size, stride, low, high;
  bool tiles = true;  // windows that touch and cover every place

  Pool(const LayerBuilder& b, std::int64_t spatial)
      : size(b.settings.integers("size")), stride(b.settings.integers("stride")) {
    low.assign(size.size(), 0);
    high = low;
    for (std::size_t i = 0; i < size.size(); ++i) {
      if (stride[i] == 0) stride[i] = size[i];
      const std::int64_t places = b.x().shape()[i + 1];
      const Padding padding = padding_of(b, places, size[i], stride[i]);
      low[i] = padding.low;
      high[i] = padding.high;
      if (places + low[i] + high[i] < size[i] || low[i] >= size[i] || high[i] >= size[i]) {
        throw LayerError(
            fmt::format("has windows of {} places, but {}", size[i], b.inputs[0].describe()),
            "write \"padding\": \"same\"");
      }
      tiles = tiles && stride[i] == size[i] && low[i] == 0 && high[i] == 0 && places % size[i] == 0;
    }
    GRADUS_CHECK(static_cast<std::int64_t>(size.size()) == spatial, "sizes of a pool");
  }

  /// x with `value` at the borders, as windows: [batch, places, taps, channels]. Windows that tile
  /// the places are the same elements in another shape: [batch, place, tap, ..., channels].
  [[nodiscard]] Expr windows(Expr x, double value) const {
    const auto count = static_cast<std::int64_t>(size.size());
    if (tiles) {
      Shape shape{x.shape()[0]};
      for (std::size_t i = 0; i < size.size(); ++i) {
        shape.push_back(x.shape()[i + 1] / size[i]);
        shape.push_back(size[i]);
      }
      shape.push_back(x.shape().back());
      return ir::reshape(x, shape);
    }
    ir::Integers before{0}, after{0}, axes;
    for (std::int64_t i = 0; i < count; ++i) {
      axes.push_back(i + 1);
      before.push_back(low[static_cast<std::size_t>(i)]);
      after.push_back(high[static_cast<std::size_t>(i)]);
    }
    before.push_back(0);
    after.push_back(0);
    if (std::ranges::any_of(before, [](auto n) { return n != 0; }) ||
        std::ranges::any_of(after, [](auto n) { return n != 0; })) {
      x = ir::pad(x, ir::constant(*x.graph, x.element(), value), before, after,
                  ir::Integers(before.size(), 0));
    }
    return ir::windows(x, axes, size, stride, ir::Integers(size.size(), 1));
  }
  /// The tap axes of `windows`.
  [[nodiscard]] ir::Integers taps() const {
    ir::Integers axes;
    const auto count = static_cast<std::int64_t>(size.size());
    for (std::int64_t i = 0; i < count; ++i) axes.push_back(tiles ? 2 * i + 2 : count + 1 + i);
    return axes;
  }
  /// Places inside of x that window `output` covers along axis i.
  [[nodiscard]] std::int64_t covered(std::size_t i, std::int64_t output,
                                     std::int64_t places) const {
    const std::int64_t first = output * stride[i] - low[i];
    return std::min(first + size[i], places) - std::max<std::int64_t>(first, 0);
  }
};

template <int spatial>
Expr max_pool(LayerBuilder& b) {
  need_image(b, spatial);
  const Pool pool(b, spatial);
  return ir::reduce("reduce_max", pool.windows(b.x(), -std::numeric_limits<double>::infinity()),
                    pool.taps());
}

/// The mean of the places that are there: padding does not count.
template <int spatial>
Expr average_pool(LayerBuilder& b) {
  need_image(b, spatial);
  const Pool pool(b, spatial);
  const Expr total = ir::sum(pool.windows(b.x(), 0), pool.taps());
  Shape outputs(total.shape().begin() + 1, total.shape().end() - 1);
  Tensor counts({ElementType::f32, outputs});
  for (std::int64_t element = 0; element < counts.type.element_count(); ++element) {
    std::int64_t rest = element;
    std::int64_t count = 1;
    for (std::size_t i = outputs.size(); i-- > 0; rest /= outputs[i]) {
      count *= pool.covered(i, rest % outputs[i], b.x().shape()[i + 1]);
    }
    counts.as<float>()[static_cast<std::size_t>(element)] = static_cast<float>(count);
  }
  const float first = counts.as<float>()[0];
  if (std::ranges::all_of(counts.as<float>(), [&](float count) { return count == first; })) {
    return total / static_cast<double>(first);
  }
  ir::Integers axes;
  for (std::int64_t i = 1; i <= spatial; ++i) axes.push_back(i);
  return total / ir::broadcast(ir::constant(b.graph, std::move(counts)), total.shape(), axes);
}

template <int spatial>
Expr global_pool(LayerBuilder& b) {
  need_image(b, spatial);
  ir::Integers axes;
  for (std::int64_t i = 1; i <= spatial; ++i) axes.push_back(i);
  const bool average = b.settings.choice("function").name == "average";
  return average ? ir::mean(b.x(), axes) : ir::reduce("reduce_max", b.x(), axes);
}

Layer pool_layer(std::string_view kind, std::string_view what, std::int64_t spatial,
                 Expr (*build)(LayerBuilder&), std::string example, std::string input) {
  return {fmt::format("{}_pool{}d", kind, spatial),
          fmt::format("The {} of windows, channel by channel.", what),
          1,
          1,
          {extents_option("size", 2, spatial, "Extents of the windows.", {1, 1e6}),
           extents_option("stride", 0, spatial, "From window to window; 0: the size.", {0, 1e6}),
           padding_option()},
          build,
          std::move(example),
          {std::move(input)}};
}

Layer global_layer(std::int64_t spatial, Expr (*build)(LayerBuilder&), std::string example,
                   std::string input) {
  return {fmt::format("global_pool{}d", spatial),
          "One value per channel of all places.",
          1,
          1,
          {choice_option("function", "average", "Which one.",
                         {{"average", "The mean.", {}}, {"max", "The greatest.", {}}})},
          build,
          std::move(example),
          {std::move(input)}};
}

}  // namespace

std::vector<Layer> pooling_layers() {
  return {
      pool_layer("max", "greatest element", 1, max_pool<1>, R"({"layer": "max_pool1d", "size": 3})",
                 "f32[9,2]"),
      pool_layer("max", "greatest element", 2, max_pool<2>, R"({"layer": "max_pool2d"})",
                 "f32[4,6,2]"),
      pool_layer("max", "greatest element", 3, max_pool<3>,
                 R"({"layer": "max_pool3d", "size": [1, 2, 3], "stride": 1})", "f32[2,3,4,2]"),
      pool_layer("average", "mean", 1, average_pool<1>, R"({"layer": "average_pool1d"})",
                 "f32[8,2]"),
      pool_layer("average", "mean", 2, average_pool<2>,
                 R"({"layer": "average_pool2d", "size": 3, "stride": 2, "padding": "same"})",
                 "f32[6,5,2]"),
      pool_layer("average", "mean", 3, average_pool<3>,
                 R"({"layer": "average_pool3d", "padding": 1})", "f32[2,2,4,2]"),
      global_layer(1, global_pool<1>, R"({"layer": "global_pool1d"})", "f32[5,3]"),
      global_layer(2, global_pool<2>, R"({"layer": "global_pool2d"})", "f32[4,5,3]"),
      global_layer(3, global_pool<3>, R"({"layer": "global_pool3d", "function": "max"})",
                   "f32[2,3,2,3]"),
  };
}

}  // namespace gradus::frontend
