#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/random.h"
#include "tests/support/random_graph.h"

namespace gradus::support {
namespace {

template <typename T>
T special_float(Random& random) {
  using Limits = std::numeric_limits<T>;
  const T values[] = {T{0},
                      -T{0},
                      T{1},
                      -T{1},
                      Limits::infinity(),
                      -Limits::infinity(),
                      Limits::quiet_NaN(),
                      Limits::denorm_min(),
                      -Limits::denorm_min(),
                      Limits::min() / 2,
                      Limits::min(),
                      -Limits::min(),
                      Limits::max(),
                      Limits::lowest(),
                      Limits::epsilon()};
  return random.pick(values);
}

template <typename T>
T value_of(Random& random, bool positive, bool special) {
  if constexpr (std::is_same_v<T, bool>) {
    return random.chance(0.5);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (special && random.chance(0.3)) return special_float<T>(random);
    return static_cast<T>(positive ? random.uniform(0.05, 1) : random.uniform(-1.5, 1.5));
  } else {
    return static_cast<T>(random.between(positive || !std::is_signed_v<T> ? 0 : -2, 5));
  }
}

/// Sums of as many products as a matrix has rows are then of order 1.
double scale_of(const Shape& shape) {
  if (shape.size() < 2) return 1;
  const auto rows =
      static_cast<double>(element_count(shape) / std::max<std::int64_t>(shape.back(), 1));
  return 1 / std::sqrt(std::max(rows, 1.0));
}

}  // namespace

std::map<std::string, Tensor> random_inputs(const ir::Graph& graph, std::uint64_t seed,
                                            InputValues values) {
  Random random(seed);
  std::map<std::string, Tensor> inputs;
  for (ir::NodeId id : graph.inputs()) {
    const ir::Node& node = graph.node(id);
    const std::string& name = node.attributes.get<std::string>("name");
    const bool state = node.attributes.get<std::string>("kind") == "state";
    const bool counter = state && node.types[0].rank() == 0;
    const bool slot = name.find('/') != name.npos;
    const double scale = state && !slot ? scale_of(node.types[0].shape) : 1;
    Tensor tensor(node.types[0]);
    dispatch(tensor.type.element, [&](auto zero) {
      using T = decltype(zero);
      for (T& value : tensor.as<T>()) {
        value = value_of<T>(random, slot || counter, values == InputValues::special);
        if constexpr (std::is_floating_point_v<T>) value *= static_cast<T>(scale);
      }
    });
    inputs.emplace(name, std::move(tensor));
  }
  return inputs;
}

bool equal_bits(const Tensor& a, const Tensor& b) {
  if (a.type != b.type) return false;
  return dispatch(a.type.element, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_floating_point_v<T>) {
      return a.bytes == b.bytes;
    } else {
      for (std::size_t i = 0; i < a.as<T>().size(); ++i) {
        const T x = a.as<T>()[i];
        const T y = b.as<T>()[i];
        const bool both_nan = x != x && y != y;
        if (!both_nan && std::memcmp(&x, &y, sizeof(T)) != 0) return false;
      }
      return true;
    }
  });
}

}  // namespace gradus::support
