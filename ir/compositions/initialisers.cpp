#include "ir/compositions/initialisers.h"

#include <cmath>

#include "ir/op.h"

namespace gradus::ir {
namespace {

struct Fans {
  double in = 1;
  double out = 1;
};

Fans fans(const Shape& shape) {
  Fans result;
  if (shape.size() < 2) {
    result.in = result.out = static_cast<double>(element_count(shape));
    return result;
  }
  double receptive = 1;
  for (std::size_t axis = 0; axis + 2 < shape.size(); ++axis) {
    receptive *= static_cast<double>(shape[axis]);
  }
  return {receptive * static_cast<double>(shape[shape.size() - 2]),
          receptive * static_cast<double>(shape.back())};
}

Expr draw(std::string_view op, Expr seed, std::int64_t stream, const Shape& shape) {
  const Expr step = constant(*seed.graph, ElementType::i64, 0);
  return apply(op, {seed, step}, {{"shape", shape}, {"stream", stream}});
}
Expr uniform(Expr seed, std::int64_t stream, const Shape& shape, double low, double high) {
  return draw("random_uniform", seed, stream, shape) * (high - low) + low;
}

/// Normal numbers cut at two deviations, `deviation` before they are cut.
Expr truncated(Expr seed, std::int64_t stream, const Shape& shape, double deviation) {
  const Expr step = constant(*seed.graph, ElementType::i64, 0);
  constexpr double kShare = 0.95449973610364158;  // erf(sqrt 2): within two deviations
  const Attributes attributes{{"shape", shape}, {"stream", stream}, {"share", kShare}};
  return apply("random_normal", {seed, step}, attributes) * deviation;
}
constexpr double kTruncation = 0.87962566103423978;  // deviation of a normal cut at 2

Expr scaled(Expr seed, std::int64_t stream, const Shape& shape, double scale, double fan,
            bool normal) {
  if (normal) return truncated(seed, stream, shape, std::sqrt(scale / fan) / kTruncation);
  const double limit = std::sqrt(3 * scale / fan);
  return uniform(seed, stream, shape, -limit, limit);
}

using P = std::span<const double>;

template <bool normal>
Expr glorot(Expr seed, std::int64_t stream, const Shape& shape, P) {
  return scaled(seed, stream, shape, 1, (fans(shape).in + fans(shape).out) / 2, normal);
}
template <bool normal>
Expr he(Expr seed, std::int64_t stream, const Shape& shape, P) {
  return scaled(seed, stream, shape, 2, fans(shape).in, normal);
}
template <bool normal>
Expr lecun(Expr seed, std::int64_t stream, const Shape& shape, P) {
  return scaled(seed, stream, shape, 1, fans(shape).in, normal);
}
Expr filled(Expr seed, const Shape& shape, double value) {
  return full(*seed.graph, {ElementType::f32, shape}, value);
}

std::vector<Initialiser> make_initialisers() {
  return {
      {"zeros",
       "All 0.",
       {},
       [](Expr s, std::int64_t, const Shape& shape, P) { return filled(s, shape, 0); }},
      {"ones",
       "All 1.",
       {},
       [](Expr s, std::int64_t, const Shape& shape, P) { return filled(s, shape, 1); }},
      {"constant",
       "All the value.",
       {{"value", 0, -1e30, 1e30, "The value."}},
       [](Expr s, std::int64_t, const Shape& shape, P p) { return filled(s, shape, p[0]); }},
      {"normal",
       "Normal numbers.",
       {{"mean", 0, -1e30, 1e30, "Mean."}, {"deviation", 0.05, 0, 1e30, "Standard deviation."}},
       [](Expr s, std::int64_t stream, const Shape& shape, P p) {
         return draw("random_normal", s, stream, shape) * p[1] + p[0];
       }},
      {"uniform",
       "Uniform numbers.",
       {{"low", -0.05, -1e30, 1e30, "Least."}, {"high", 0.05, -1e30, 1e30, "Greatest."}},
       [](Expr s, std::int64_t stream, const Shape& shape, P p) {
         return uniform(s, stream, shape, p[0], p[1]);
       }},
      {"glorot_uniform", "Uniform within sqrt(6 / (in + out)).", {}, glorot<false>},
      {"glorot_normal", "Truncated normal of variance 2 / (in + out).", {}, glorot<true>},
      {"he_uniform", "Uniform within sqrt(6 / in).", {}, he<false>},
      {"he_normal", "Truncated normal of variance 2 / in.", {}, he<true>},
      {"lecun_uniform", "Uniform within sqrt(3 / in).", {}, lecun<false>},
      {"lecun_normal", "Truncated normal of variance 1 / in.", {}, lecun<true>},
  };
}

}  // namespace

std::span<const Initialiser> initialisers() {
  static const std::vector<Initialiser> records = make_initialisers();
  return records;
}
const Initialiser* find_initialiser(std::string_view name) {
  for (const Initialiser& initialiser : initialisers()) {
    if (initialiser.name == name) return &initialiser;
  }
  return nullptr;
}

}  // namespace gradus::ir
