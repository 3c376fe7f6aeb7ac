#include <fmt/format.h>

#include "frontend/layer_families.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

/// Pads by `low` and `high` along the spatial axes; with sign -1 crops.
template <int spatial, int sign>
Expr resize(LayerBuilder& b) {
  need_image(b, spatial);
  ir::Integers low(spatial + 2, 0);
  ir::Integers high = low;
  for (std::size_t i = 0; i < spatial; ++i) {
    low[i + 1] = sign * b.settings.integers("low")[i];
    high[i + 1] = sign * b.settings.integers("high")[i];
    if (b.x().shape()[i + 1] + low[i + 1] + high[i + 1] < 1) {
      throw LayerError(
          fmt::format("leaves nothing along axis {}, but {}", i, b.inputs[0].describe()));
    }
  }
  return ir::pad(b.x(), ir::constant(b.graph, ElementType::f32, 0), low, high,
                 ir::Integers(low.size(), 0));
}

/// Every place `size` times.
Expr repeat(Expr x, const ir::Integers& size) {
  Shape shape{x.shape()[0]};
  Shape merged = shape;
  ir::Integers axes{0};
  for (std::size_t i = 0; i < size.size(); ++i) {
    axes.push_back(static_cast<std::int64_t>(shape.size()));
    shape.push_back(x.shape()[i + 1]);
    shape.push_back(size[i]);
    merged.push_back(x.shape()[i + 1] * size[i]);
  }
  axes.push_back(static_cast<std::int64_t>(shape.size()));
  shape.push_back(x.shape().back());
  merged.push_back(x.shape().back());
  return ir::reshape(ir::broadcast(x, shape, axes), merged);
}

/// Linear interpolation along `axis` between the centres of places; the borders are repeated.
Expr interpolate(Expr x, std::int64_t axis, std::int64_t factor) {
  const auto at = static_cast<std::size_t>(axis);
  const std::int64_t places = x.shape()[at];
  const auto part = [&](Expr of, std::int64_t first, std::int64_t count) {
    ir::Integers start(of.shape().size(), 0);
    Shape limit = of.shape();
    start[at] = first;
    limit[at] = first + count;
    return ir::slice(of, start, limit, ir::Integers(start.size(), 1));
  };
  const std::vector<Expr> bordered{part(x, 0, 1), x, part(x, places - 1, 1)};
  const Expr wide = ir::concat(bordered, axis);
  std::vector<Expr> phases;
  for (std::int64_t phase = 0; phase < factor; ++phase) {
    // Centre of the result's place, in places of x, from the centre of its own place.
    const double centre = (static_cast<double>(phase) + 0.5) / static_cast<double>(factor) - 0.5;
    const std::int64_t first = centre < 0 ? 0 : 1;  // in `wide`
    const double share = centre < 0 ? centre + 1 : centre;
    phases.push_back(part(wide, first, places) * (1 - share) +
                     part(wide, first + 1, places) * share);
  }
  return ir::interleave(phases, axis);
}

template <int spatial>
Expr up_sampling(LayerBuilder& b) {
  need_image(b, spatial);
  const ir::Integers& size = b.settings.integers("size");
  if (b.settings.choice("interpolation").name == "nearest") return repeat(b.x(), size);
  Expr y = b.x();
  for (std::size_t i = 0; i < size.size(); ++i) {
    if (size[i] > 1) y = interpolate(y, static_cast<std::int64_t>(i) + 1, size[i]);
  }
  return y;
}

Layer border_layer(std::string_view name, std::string_view doc, std::string_view side,
                   std::int64_t spatial, std::int64_t amount, Expr (*build)(LayerBuilder&),
                   std::string input) {
  return {
      fmt::format("{}{}d", name, spatial),
      std::string(doc),
      1,
      1,
      {extents_option("low", amount, spatial, fmt::format("{} before the first.", side), {0, 1e6}),
       extents_option("high", amount, spatial, fmt::format("{} behind the last.", side), {0, 1e6})},
      build,
      fmt::format(R"({{"layer": "{}{}d", "low": 0}})", name, spatial),
      {std::move(input)}};
}

Layer up_sampling_layer(std::int64_t spatial, Expr (*build)(LayerBuilder&), std::string example,
                        std::string input) {
  return {fmt::format("up_sampling{}d", spatial),
          "More places: each one repeated, or linear interpolation between their centres.",
          1,
          1,
          {extents_option("size", 2, spatial, "How many times as many.", {1, 1000}),
           choice_option("interpolation", "nearest", "What stands between.",
                         {{"nearest", "The nearest place.", {}},
                          {"linear", "Linear along every axis (bilinear on images).", {}}})},
          build,
          std::move(example),
          {std::move(input)}};
}

}  // namespace

std::vector<Layer> resizing_layers() {
  constexpr std::string_view pads = "Zeros around the places.";
  constexpr std::string_view crops = "Leaves out places at the borders.";
  return {
      border_layer("zero_padding", pads, "Zeros", 1, 1, resize<1, 1>, "f32[3,2]"),
      border_layer("zero_padding", pads, "Zeros", 2, 1, resize<2, 1>, "f32[3,4,2]"),
      border_layer("zero_padding", pads, "Zeros", 3, 1, resize<3, 1>, "f32[2,1,3,2]"),
      border_layer("cropping", crops, "Places", 1, 0, resize<1, -1>, "f32[3,2]"),
      border_layer("cropping", crops, "Places", 2, 0, resize<2, -1>, "f32[3,4,2]"),
      border_layer("cropping", crops, "Places", 3, 0, resize<3, -1>, "f32[2,1,3,2]"),
      up_sampling_layer(1, up_sampling<1>, R"({"layer": "up_sampling1d", "size": 3})", "f32[4,2]"),
      up_sampling_layer(2, up_sampling<2>,
                        R"({"layer": "up_sampling2d", "interpolation": "linear"})", "f32[3,4,2]"),
      up_sampling_layer(3, up_sampling<3>, R"({"layer": "up_sampling3d", "size": [1, 2, 2]})",
                        "f32[2,1,3,2]"),
  };
}

}  // namespace gradus::frontend
