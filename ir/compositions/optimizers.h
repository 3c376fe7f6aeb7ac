#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/expr.h"

namespace gradus::ir {

struct Hyperparameter {
  std::string_view name;
  double default_value;
  double least;
  double greatest;
  std::string_view doc;
};

/// What one parameter's update sees. `rate` is the learning rate and `hyper` the optimizer's
/// hyperparameters in order, both f64 scalars or numbers; `step` counts from 0, i64[].
struct UpdateContext {
  Expr parameter;
  Expr gradient;
  std::vector<Expr> slots;
  Expr rate;  // f64[]
  Expr step;  // i64[]
  std::span<const double> hyper;
};
struct Update {
  Expr parameter;
  std::vector<Expr> slots;
};

struct Slot {
  std::string_view name;
};

/// An optimizer by its name in model files; the formulas and defaults are Keras's. Slots have the
/// parameter's shape and start at hyperparameter `initial_slot` (-1: at zero).
struct Optimizer {
  std::string_view name;
  std::string_view doc;
  double learning_rate;
  std::vector<Hyperparameter> hyperparameters;
  std::vector<Slot> slots;
  int initial_slot;
  Update (*build)(const UpdateContext& context);
};
[[nodiscard]] std::span<const Optimizer> optimizers();
[[nodiscard]] const Optimizer* find_optimizer(std::string_view name);

/// A learning-rate schedule by its name: f64[] from the step (i64[]) and its parameters.
struct Schedule {
  std::string_view name;
  std::string_view doc;
  std::vector<Hyperparameter> parameters;
  Expr (*build)(Expr rate, Expr step, std::span<const double> parameters);
};
[[nodiscard]] std::span<const Schedule> schedules();
[[nodiscard]] const Schedule* find_schedule(std::string_view name);
/// rate * min(1, (step + 1) / steps).
Expr warm_up(Expr rate, Expr step, double steps);

}  // namespace gradus::ir
