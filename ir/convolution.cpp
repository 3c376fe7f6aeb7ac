#include "ir/convolution.h"

#include <algorithm>
#include <numeric>

#include "ir/graph.h"

namespace gradus::ir {

Integers ConvolutionAxes::contracted() const {
  Integers axes{rhs_in};
  for (const SpatialAxis& axis : spatial) axes.push_back(axis.rhs);
  std::sort(axes.begin(), axes.end());
  return axes;
}

std::string_view to_string(ConvolutionAlgorithm algorithm) {
  constexpr std::string_view names[] = {"direct", "winograd_2x2", "winograd_4x4"};
  return names[static_cast<std::size_t>(algorithm)];
}

std::int64_t tile_outputs(ConvolutionAlgorithm algorithm) {
  constexpr std::int64_t outputs[] = {1, 2, 4};
  return outputs[static_cast<std::size_t>(algorithm)];
}

bool admits(ConvolutionAlgorithm algorithm, const ConvolutionAxes& axes, const Shape& lhs,
            const Shape& rhs) {
  if (algorithm == ConvolutionAlgorithm::direct) return true;
  if (axes.spatial.size() != 2 || axes.grouped()) return false;
  const auto taps = [&](const SpatialAxis& axis) {
    return rhs[static_cast<std::size_t>(axis.rhs)];
  };
  const auto outputs = [&](const SpatialAxis& axis) {
    return output_extent(axis, lhs[static_cast<std::size_t>(axis.lhs)], taps(axis));
  };
  return std::ranges::all_of(axes.spatial,
                             [](const SpatialAxis& axis) {
                               return axis.stride == 1 && axis.window_dilation == 1 &&
                                      axis.base_dilation == 1;
                             }) &&
         (std::ranges::all_of(axes.spatial, [&](const auto& axis) { return taps(axis) == 3; }) ||
          std::ranges::all_of(axes.spatial, [&](const auto& axis) { return outputs(axis) == 3; }));
}

namespace {

ConvolutionAlgorithm algorithm_named(const std::string& name) {
  for (const ConvolutionAlgorithm algorithm : kConvolutionAlgorithms) {
    if (name == to_string(algorithm)) return algorithm;
  }
  throw TypeError("the algorithm is direct, winograd_2x2 or winograd_4x4, found " + name);
}

}  // namespace

ConvolutionAxes convolution_axes(const Attributes& attributes) {
  const Integers& lhs = attributes.get<Integers>("lhs");
  const Integers& rhs = attributes.get<Integers>("rhs");
  const Integers& group = attributes.get<Integers>("group");
  if (lhs.size() < 2 || rhs.size() != lhs.size()) {
    throw TypeError(
        "lhs lists batch, feature and spatial axes, rhs input, output and as many "
        "spatial axes; found " +
        to_string(lhs) + " and " + to_string(rhs));
  }
  if (!group.empty() && group.size() != 2) {
    throw TypeError("group names an axis of lhs and one of rhs, found " + to_string(group));
  }
  ConvolutionAxes axes{lhs[0], lhs[1], rhs[0], rhs[1], -1, -1, {}};
  axes.algorithm = algorithm_named(attributes.get<std::string>("algorithm"));
  if (!group.empty()) {
    axes.lhs_group = group[0];
    axes.rhs_group = group[1];
  }
  const std::size_t count = lhs.size() - 2;
  const auto number = [&](std::string_view name, std::size_t i, std::int64_t none) {
    const Integers& list = attributes.get<Integers>(name);
    if (list.empty()) return none;
    if (list.size() != count) {
      throw TypeError(std::string(name) + " has one entry for each of " + std::to_string(count) +
                      " spatial axes, found " + to_string(list));
    }
    return list[i];
  };
  for (std::size_t i = 0; i < count; ++i) {
    axes.spatial.push_back({lhs[i + 2], rhs[i + 2], number("stride", i, 1), number("low", i, 0),
                            number("high", i, 0), number("window_dilation", i, 1),
                            number("base_dilation", i, 1)});
  }
  return axes;
}

Attributes to_attributes(const ConvolutionAxes& axes) {
  Integers lhs{axes.lhs_batch, axes.lhs_feature};
  Integers rhs{axes.rhs_in, axes.rhs_out};
  Integers stride, low, high, window_dilation, base_dilation;
  for (const SpatialAxis& axis : axes.spatial) {
    lhs.push_back(axis.lhs);
    rhs.push_back(axis.rhs);
    stride.push_back(axis.stride);
    low.push_back(axis.low);
    high.push_back(axis.high);
    window_dilation.push_back(axis.window_dilation);
    base_dilation.push_back(axis.base_dilation);
  }
  const Integers group = axes.grouped() ? Integers{axes.lhs_group, axes.rhs_group} : Integers{};
  return {{"lhs", lhs},
          {"rhs", rhs},
          {"group", group},
          {"stride", stride},
          {"low", low},
          {"high", high},
          {"window_dilation", window_dilation},
          {"base_dilation", base_dilation},
          {"algorithm", std::string(to_string(axes.algorithm))}};
}

std::int64_t dilated(std::int64_t extent, std::int64_t dilation) {
  return extent == 0 ? 0 : (extent - 1) * dilation + 1;
}

std::int64_t output_extent(const SpatialAxis& axis, std::int64_t places, std::int64_t taps) {
  const std::int64_t padded = axis.low + dilated(places, axis.base_dilation) + axis.high;
  const std::int64_t reach = dilated(taps, axis.window_dilation);
  return padded < reach ? 0 : (padded - reach) / axis.stride + 1;
}

std::vector<Phase> phases(const SpatialAxis& axis, std::int64_t outputs, std::int64_t taps) {
  const std::int64_t base = axis.base_dilation;
  const std::int64_t period = base / std::gcd(base, axis.stride);
  const std::int64_t tap_step = base / std::gcd(base, axis.window_dilation);
  std::vector<Phase> result;
  for (std::int64_t first = 0; first < std::min(period, outputs); ++first) {
    Phase phase;
    phase.first_output = first;
    phase.output_step = period;
    phase.outputs = (outputs - first + period - 1) / period;
    phase.tap_step = tap_step;
    phase.place_step = axis.stride * period / base;
    phase.tap_place_step = axis.window_dilation * tap_step / base;
    for (std::int64_t tap = 0; tap < std::min(tap_step, taps); ++tap) {
      const std::int64_t place = first * axis.stride + tap * axis.window_dilation - axis.low;
      if (place % base != 0) continue;
      phase.first_tap = tap;
      phase.taps = (taps - tap + tap_step - 1) / tap_step;
      phase.place = place / base;
      break;
    }
    result.push_back(phase);
  }
  return result;
}

}  // namespace gradus::ir
