#pragma once

#include <span>
#include <string_view>

#include "ir/compositions/optimizers.h"
#include "ir/expr.h"

namespace gradus::ir {

/// An initialiser by its name in model files, as Keras defines it: f32 of `shape` from the seed
/// (i64[]) and a stream. Fans of a kernel: extents of the last two axes, times the others.
struct Initialiser {
  std::string_view name;
  std::string_view doc;
  std::vector<Hyperparameter> parameters;
  Expr (*build)(Expr seed, std::int64_t stream, const Shape& shape,
                std::span<const double> parameters);
};
[[nodiscard]] std::span<const Initialiser> initialisers();
[[nodiscard]] const Initialiser* find_initialiser(std::string_view name);

}  // namespace gradus::ir
