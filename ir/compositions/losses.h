#pragma once

#include <span>
#include <string_view>

#include "ir/expr.h"

namespace gradus::ir {

/// How a prediction is given.
enum class Prediction : std::uint8_t { value, probability, logit };

/// A loss: prediction and target of a batch (leading axis) in, the mean as a scalar out. Throws
/// TypeError when shapes do not fit.
struct Loss {
  std::string_view name;
  std::string_view doc;
  bool classifies;  // takes probabilities or logits instead of values
  bool compares;    // with a target; else that is the prediction again
  Expr (*build)(Expr prediction, Prediction kind, Expr target);
};
[[nodiscard]] std::span<const Loss> losses();
[[nodiscard]] const Loss* find_loss(std::string_view name);

/// How batch values become the value of an epoch.
enum class Aggregation : std::uint8_t { mean, root_of_mean };

/// A metric: as a loss, without gradient. With root_of_mean the batch value is a mean of squares.
struct Metric {
  std::string_view name;
  std::string_view doc;
  Aggregation aggregation;
  Expr (*build)(Expr prediction, Prediction kind, Expr target);
};
[[nodiscard]] std::span<const Metric> metrics();
[[nodiscard]] const Metric* find_metric(std::string_view name);

}  // namespace gradus::ir
