#include "ir/compositions/activations.h"

#include <numbers>

#include "ir/op.h"

namespace gradus::ir {
namespace {

Integers last_axis(Expr x) {
  if (x.rank() == 0) throw TypeError("needs an axis, found the scalar " + to_string(x.type()));
  return {x.rank() - 1};
}

Expr row_maximum(Expr x) { return stop_gradient(reduce("reduce_max", x, last_axis(x))); }

constexpr Activation kActivations[] = {
    {"linear", "x.", [](Expr x) { return x; }},
    {"relu", "max(x, 0).", relu},
    {"leaky_relu", "x above 0, 0.3 x below.", [](Expr x) { return leaky_relu(x, 0.3); }},
    {"gelu", "x times the normal distribution function, exact.", gelu},
    {"gelu_tanh", "gelu by its tanh approximation.", gelu_tanh},
    {"silu", "x sigmoid(x).", silu},
    {"softplus", "log(1 + e^x).", softplus},
    {"sigmoid", "1 / (1 + e^-x).", [](Expr x) { return map("sigmoid", x); }},
    {"tanh", "Hyperbolic tangent.", [](Expr x) { return map("tanh", x); }},
    {"softmax", "e^x divided by its sum along the last axis.", softmax},
    {"log_softmax", "Logarithm of softmax.", log_softmax},
};

}  // namespace

std::span<const Activation> activations() { return kActivations; }

const Activation* find_activation(std::string_view name) {
  for (const Activation& activation : kActivations) {
    if (activation.name == name) return &activation;
  }
  return nullptr;
}

Expr relu(Expr x) { return select(map("less_equal", x, full_like(x, 0)), full_like(x, 0), x); }
Expr leaky_relu(Expr x, double negative_slope) {
  return select(map("less_equal", x, full_like(x, 0)), x * negative_slope, x);
}
Expr gelu(Expr x) { return x * (0.5 * (1.0 + map("erf", x * (std::numbers::sqrt2 / 2)))); }
Expr gelu_tanh(Expr x) {
  const double scale = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
  return x * (0.5 * (1.0 + map("tanh", scale * (x + 0.044715 * (x * x * x)))));
}
Expr silu(Expr x) { return x * map("sigmoid", x); }
Expr softplus(Expr x) { return relu(x) + map("log1p", map("exp", -map("abs", x))); }
Expr clamp(Expr x, double low, double high) {
  return map("min", map("max", x, full_like(x, low)), full_like(x, high));
}

namespace {

/// Not normalised.
Expr exponentials(Expr x) {
  return map("exp", x - broadcast_reduced(row_maximum(x), x.shape(), last_axis(x)));
}
Expr normalized(Expr e) {
  const Integers axes = last_axis(e);
  return e * broadcast_reduced(1.0 / sum(e, axes), e.shape(), axes);
}

}  // namespace

Expr softmax(Expr x) { return normalized(exponentials(x)); }
Expr masked_softmax(Expr x, Expr counted) {
  const Expr e = exponentials(x);
  return normalized(select(counted, e, full_like(e, 0)));
}
Expr logsumexp(Expr x) {
  const Integers axes = last_axis(x);
  const Expr maximum = row_maximum(x);
  const Expr e = map("exp", x - broadcast_reduced(maximum, x.shape(), axes));
  return map("log", sum(e, axes)) + maximum;
}
Expr log_softmax(Expr x) { return x - broadcast_reduced(logsumexp(x), x.shape(), last_axis(x)); }

Expr normalize_rows(Expr x, double epsilon) {
  const Integers axes = last_axis(x);
  const Expr d = x - broadcast_reduced(mean(x, axes), x.shape(), axes);
  const Expr scale = map("rsqrt", mean(d * d, axes) + epsilon);
  return d * broadcast_reduced(scale, x.shape(), axes);
}

}  // namespace gradus::ir
