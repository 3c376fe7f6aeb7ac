#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "ir/expr.h"

namespace gradus::ir {

/// How a prediction is given.
enum class Prediction : std::uint8_t { value, probability, logit };

/// What a loss or metric looks at: values of a batch (leading axis).
struct Compared {
  Expr prediction;
  Prediction kind = Prediction::value;
  Expr target = {};  // unless there is nothing to compare with
  /// How much each of the numbers counts whose mean is taken: of their shape, or of its first axes.
  /// Those of weight 0 do not, whatever they are, nor have they a gradient; the mean of none is 0.
  std::optional<Expr> weights = {};
};

/// A loss: the mean over the batch as a scalar. Throws TypeError when shapes do not fit.
struct Loss {
  std::string_view name;
  std::string_view doc;
  bool classifies;  // takes probabilities or logits instead of values
  bool compares;    // with a target
  Expr (*build)(const Compared& c);
};
[[nodiscard]] std::span<const Loss> losses();
[[nodiscard]] const Loss* find_loss(std::string_view name);

/// f32[]: 1 where the weights have a mean to be taken by, 0 where they add up to 0.
[[nodiscard]] Expr counts(Expr weights);

/// How batch values become the value of an epoch.
enum class Aggregation : std::uint8_t { mean, root_of_mean };

/// A metric: as a loss, without gradient. With root_of_mean the batch value is a mean of squares.
struct Metric {
  std::string_view name;
  std::string_view doc;
  Aggregation aggregation;
  Expr (*build)(const Compared& c);
};
[[nodiscard]] std::span<const Metric> metrics();
[[nodiscard]] const Metric* find_metric(std::string_view name);

}  // namespace gradus::ir
