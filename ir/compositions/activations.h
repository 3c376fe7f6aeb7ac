#pragma once

#include <span>
#include <string_view>

#include "ir/expr.h"

namespace gradus::ir {

/// An activation by its name in model files; shape in, same shape out.
struct Activation {
  std::string_view name;
  std::string_view doc;
  Expr (*build)(Expr x);
};
[[nodiscard]] std::span<const Activation> activations();
/// Null when there is none of that name.
[[nodiscard]] const Activation* find_activation(std::string_view name);

/// select(x <= 0, 0, x): NaN passes, the derivative at 0 is 0, and the result tells the mask.
Expr relu(Expr x);
Expr leaky_relu(Expr x, double negative_slope);
/// x * Phi(x) with the error function.
Expr gelu(Expr x);
/// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016).
Expr gelu_tanh(Expr x);
Expr silu(Expr x);
/// log(1 + e^x) as max(x, 0) + log1p(e^-|x|).
Expr softplus(Expr x);
/// min(max(x, low), high).
Expr clamp(Expr x, double low, double high);

/// Along the last axis, shifted by its maximum: no overflow.
Expr softmax(Expr x);
/// Of the elements that count, which the row's greatest one is among; the others become 0.
Expr masked_softmax(Expr x, Expr counted);
Expr log_softmax(Expr x);
/// The last axis disappears.
Expr logsumexp(Expr x);

/// (x - mean) / sqrt(variance + epsilon) along the last axis (Ba et al. 2016).
Expr normalize_rows(Expr x, double epsilon);

}  // namespace gradus::ir
