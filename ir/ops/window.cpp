#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

using Types = std::span<const TensorType>;

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

/// How windows slide: for each windowed axis its place axis, its tap axis, stride and dilation.
struct Windows {
  const Integers& places;
  const Integers& taps;
  const Integers& stride;
  const Integers& dilation;

  explicit Windows(const Attributes& attributes)
      : places(attributes.get<Integers>("places")),
        taps(attributes.get<Integers>("taps")),
        stride(attributes.get<Integers>("stride")),
        dilation(attributes.get<Integers>("dilation")) {}

  [[nodiscard]] std::size_t size() const { return places.size(); }

  void check(std::int64_t rank) const {
    const auto count = static_cast<std::int64_t>(size());
    check_length(taps, count, "taps");
    check_length(stride, count, "stride");
    check_length(dilation, count, "dilation");
    Integers all = places;
    all.insert(all.end(), taps.begin(), taps.end());
    std::sort(all.begin(), all.end());
    check_axes(all, rank);
    for (std::size_t i = 0; i < size(); ++i) {
      if (stride[i] < 1 || dilation[i] < 1 || stride[i] > kMaximumElements ||
          dilation[i] > kMaximumElements) {
        throw TypeError("stride and dilation are at least 1, found " + to_string(stride) + " and " +
                        to_string(dilation));
      }
    }
  }
  /// Places that `count` windows of `taps` cover.
  [[nodiscard]] std::int64_t covered(std::size_t i, std::int64_t count, std::int64_t tap) const {
    return count == 0 || tap == 0 ? 0 : (count - 1) * stride[i] + (tap - 1) * dilation[i] + 1;
  }
};

std::vector<TensorType> infer_window(const InferContext& context) {
  TensorType type = context.operands[0];
  const Windows windows(context.attributes);
  windows.check(type.rank());
  for (std::size_t i = 0; i < windows.size(); ++i) {
    std::int64_t& extent = type.shape[at(windows.places[i])];
    const std::int64_t tap = type.shape[at(windows.taps[i])];
    if (tap == 0 || tap - 1 > (kMaximumElements - 1) / windows.dilation[i]) {
      throw TypeError("a window of " + std::to_string(tap) + " taps");
    }
    const std::int64_t reach = windows.covered(i, 1, tap);
    extent = extent < reach ? 0 : (extent - reach) / windows.stride[i] + 1;
  }
  return {type};
}
std::vector<IndexMap> window_maps(Types, const TensorType& result, const Attributes& attributes) {
  const Windows windows(attributes);
  IndexMap map;
  for (std::int64_t axis = 0; axis < result.rank(); ++axis) map.push_back(along(axis));
  for (std::size_t i = 0; i < windows.size(); ++i) {
    std::vector<AffineTerm> terms{{windows.places[i], windows.stride[i]},
                                  {windows.taps[i], windows.dilation[i]}};
    std::sort(terms.begin(), terms.end(),
              [](const auto& a, const auto& b) { return a.axis < b.axis; });
    map[at(windows.places[i])] = {std::move(terms), 0, 1};
  }
  return {map};
}
Cotangents window_vjp(const VjpContext& c) {
  Attributes attributes = c.attributes;
  Integers extents;
  for (std::int64_t axis : c.attributes.get<Integers>("places")) {
    extents.push_back(c.x[0].shape()[at(axis)]);
  }
  attributes.set("extents", extents);
  return {apply("unwindow", {c.dy, constant(*c.dy.graph, c.dy.element(), 0)}, attributes)};
}

std::vector<TensorType> infer_unwindow(const InferContext& context) {
  TensorType type = context.operands[0];
  const Windows windows(context.attributes);
  windows.check(type.rank());
  if (context.operands[1] != TensorType{type.element, {}}) {
    throw TypeError("the value between is " + to_string(TensorType{type.element, {}}) + ", found " +
                    to_string(context.operands[1]));
  }
  const Integers& extents = context.attributes.get<Integers>("extents");
  check_length(extents, static_cast<std::int64_t>(windows.size()), "extents");
  for (std::size_t i = 0; i < windows.size(); ++i) {
    std::int64_t& extent = type.shape[at(windows.places[i])];
    const std::int64_t tap = type.shape[at(windows.taps[i])];
    const bool fits = extent <= kMaximumElements / windows.stride[i] &&
                      tap <= kMaximumElements / windows.dilation[i] &&
                      windows.covered(i, extent, tap) <= extents[i];
    if (!fits) {
      throw TypeError("windows of " + to_string(context.operands[0]) + " do not fit in extent " +
                      std::to_string(extents[i]));
    }
    extent = extents[i];
  }
  return {type};
}
std::vector<IndexMap> unwindow_maps(Types, const TensorType& result, const Attributes& attributes) {
  const Windows windows(attributes);
  IndexMap map;
  for (std::int64_t axis = 0; axis < result.rank(); ++axis) map.push_back(along(axis));
  for (std::size_t i = 0; i < windows.size(); ++i) {
    std::vector<AffineTerm> terms{{windows.places[i], 1}, {windows.taps[i], -windows.dilation[i]}};
    std::sort(terms.begin(), terms.end(),
              [](const auto& a, const auto& b) { return a.axis < b.axis; });
    map[at(windows.places[i])] = {std::move(terms), 0, windows.stride[i]};
  }
  return {map, {}};
}
Cotangents unwindow_vjp(const VjpContext& c) {
  Attributes attributes;
  for (const auto& [name, value] : c.attributes) {
    if (name != "extents") attributes.set(name, value);
  }
  const Expr all = apply("window", {c.dy}, attributes);
  const Shape& shape = c.x[0].shape();  // windows may be fewer than fit
  const Expr dx = all.shape() == shape
                      ? all
                      : slice(all, Integers(shape.size(), 0), shape, Integers(shape.size(), 1));
  return {dx, sum_all(c.dy) - sum_all(dx)};
}

}  // namespace

std::vector<OpRecord> window_ops() {
  const auto list = [](std::string_view name, std::string_view doc) {
    return AttributeSpec{name, AttributeKind::integers, doc};
  };
  std::vector<OpRecord> ops;
  const std::vector<AttributeSpec> windows{
      list("places", "Axes along which windows slide."),
      list("taps", "For each of them the axis that counts a window's elements."),
      list("stride", "From window to window."), list("dilation", "From tap to tap.")};
  std::vector<AttributeSpec> unwindows = windows;
  unwindows.push_back(list("extents", "Of the places in the result."));
  ops.push_back(
      {.name = "window",
       .doc = "Along a place axis p and its tap axis k, result element (o, k) is x's "
              "element (o * stride + k * dilation, k); as many windows as fit. A window "
              "reduction and a convolution read their operand, repeated along the tap "
              "axes, through it.",
       .attributes = windows,
       .infer = infer_window,
       .vjp = window_vjp,
       .compute = MovementComputation{window_maps},
       .smooth = true,
       .examples = {
           {{"f32[3,9,3]"}, "places = [1], taps = [2], stride = [2], dilation = [1]"},
           {{"f64[7,8,2,3,2]"}, "places = [0,1], taps = [2,3], stride = [1,3], dilation = [3,2]"},
           {{"f32[20,2]"}, "places = [0], taps = [1], stride = [1], dilation = [1]"}}});
  ops.push_back({.name = "unwindow",
                 .doc = "The transpose of window: puts the elements of windows back to their "
                        "places, result (p, k) = x((p - k * dilation) / stride, k), and the second "
                        "operand where no window has one.",
                 .least_operands = 2,
                 .most_operands = 2,
                 .attributes = unwindows,
                 .infer = infer_unwindow,
                 .vjp = unwindow_vjp,
                 .compute = MovementComputation{unwindow_maps},
                 .smooth = true,
                 .examples = {{{"f32[3,4,3]", "f32[]"},
                               "places = [1], taps = [2], stride = [2], dilation = [1], "
                               "extents = [10]"},
                              {{"f64[3,2,2,3,2]", "f64[]"},
                               "places = [0,1], taps = [2,3], stride = [1,3], dilation = [3,2], "
                               "extents = [7,8]"}}});
  return ops;
}

}  // namespace gradus::ir
