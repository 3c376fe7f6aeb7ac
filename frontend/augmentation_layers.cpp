// Layers that vary images in training: the randomness of a step is that of dropout, so a run that
// is repeated or resumed sees the same images. Along an axis each is a choice of positions.

#include <fmt/format.h>

#include "frontend/layer_families.h"
#include "ir/compositions/indexing.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

constexpr std::int64_t kAxes = 2;  // height and width

/// Places [first, first + places) of x along `axis`, the same in every example.
Expr part(Expr x, std::int64_t axis, std::int64_t first, std::int64_t places) {
  const auto at = static_cast<std::size_t>(axis);
  ir::Integers start(x.shape().size(), 0);
  Shape limit = x.shape();
  start[at] = first;
  limit[at] = first + places;
  return ir::slice(x, start, limit, ir::Integers(start.size(), 1));
}

/// `places` places of x along `axis`, in each example from its own first one on: any of the
/// `firsts` first ones, equally likely.
Expr random_part(LayerBuilder& b, Expr x, std::int64_t axis, std::int64_t firsts,
                 std::int64_t places) {
  const Expr uniform = draw(b, "random_uniform", {b.batch}, fmt::format("first{}", axis));
  // uniform is at most 1 - 2^-24: the product is below `firsts` also when rounded.
  const Expr first =
      ir::cast(ir::map("floor", uniform * static_cast<double>(firsts)), ElementType::i32);
  const Shape shape{b.batch, places};
  const Expr positions =
      ir::broadcast(first, shape, {0}) + ir::iota(b.graph, ElementType::i32, shape, 1);
  return ir::gather(x, positions, axis, 1);
}

Expr random_crop(LayerBuilder& b) {
  need_image(b, kAxes);
  const ir::Integers& padding = b.settings.integers("padding");
  const ir::Integers& size = b.settings.integers("size");
  const ir::Integers border{0, padding[0], padding[1], 0};
  Expr y = ir::pad(b.x(), ir::constant(b.graph, ElementType::f32, 0), border, border,
                   ir::Integers(border.size(), 0));
  for (std::size_t i = 0; i < kAxes; ++i) {
    const auto axis = static_cast<std::int64_t>(i) + 1;
    const std::int64_t places = size[i] > 0 ? size[i] : b.x().shape()[i + 1];
    const std::int64_t firsts = y.shape()[i + 1] - places + 1;
    if (firsts < 1) {
      throw LayerError(fmt::format("takes {} places along axis {} with {} on either side, but {}",
                                   places, i, padding[i], b.inputs[0].describe()));
    }
    y = b.training() && firsts > 1 ? random_part(b, y, axis, firsts, places)
                                   : part(y, axis, (firsts - 1) / 2, places);
  }
  return y;
}

/// x or its mirror image along `axis`, for each example.
Expr flip(LayerBuilder& b, Expr x, std::int64_t axis) {
  const Expr chosen =
      ir::apply("random_bernoulli", {b.seed(), b.step()},
                {{"shape", Shape{b.batch}},
                 {"stream", b.streams.of(fmt::format("{}/flip{}", b.path, axis), b.where)},
                 {"probability", b.settings.number("probability")}});
  return ir::select(ir::broadcast(chosen, x.shape(), {0}), ir::reverse(x, {axis}), x);
}

Expr random_flip(LayerBuilder& b) {
  need_image(b, kAxes);
  Expr y = b.x();
  if (!b.training() || b.settings.number("probability") == 0) return y;
  const std::string& mode = b.settings.choice("mode").name;
  if (mode != "horizontal") y = flip(b, y, 1);
  if (mode != "vertical") y = flip(b, y, 2);
  return y;
}

}  // namespace

std::vector<Layer> augmentation_layers() {
  return {
      {"random_crop",
       "A part of an image, with zeros around it if wanted: in training at a place drawn for each "
       "example, each place equally likely, else from the middle.",
       1,
       1,
       {extents_option("padding", 0, kAxes, "Zeros on either side.", {0, 1e6}),
        extents_option("size", 0, kAxes, "Places of the part; 0: as many as the image has.",
                       {0, 1e6})},
       random_crop,
       R"({"layer": "random_crop", "padding": 1})",
       {"f32[4,3,2]"}},
      {"random_flip",
       "In training an image or its mirror image, drawn for each example.",
       1,
       1,
       {choice_option("mode", "horizontal", "What is exchanged.",
                      {{"horizontal", "Left and right.", {}},
                       {"vertical", "Top and bottom.", {}},
                       {"both", "Either, drawn one by one.", {}}}),
        number_option("probability", 0.5, "Of being exchanged.", {0, 1})},
       random_flip,
       R"({"layer": "random_flip"})",
       {"f32[3,4,2]"}},
  };
}

}  // namespace gradus::frontend
