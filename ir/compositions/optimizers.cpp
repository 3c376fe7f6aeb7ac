#include "ir/compositions/optimizers.h"

#include <cmath>
#include <numbers>

#include "ir/op.h"

namespace gradus::ir {
namespace {

/// A f64 scalar as the parameter's type.
Expr as(Expr scalar, Expr like) { return cast(scalar, like.element()); }
Expr sqrt(Expr x) { return map("sqrt", x); }

/// slot + (value - slot) * (1 - decay): the moving average as Keras writes it.
Expr average(Expr slot, Expr value, double decay) { return slot + (value - slot) * (1 - decay); }

/// decay^(step + 1) in f64.
Expr power(double decay, Expr step) {
  const Expr t = cast(step + 1, ElementType::f64);
  return map("pow", constant(*step.graph, ElementType::f64, decay), t);
}

Update sgd(const UpdateContext& c) {
  return {c.parameter - as(c.rate, c.parameter) * c.gradient, {}};
}
Update momentum(const UpdateContext& c) {
  const Expr velocity = c.slots[0] * c.hyper[0] - as(c.rate, c.parameter) * c.gradient;
  return {c.parameter + velocity, {velocity}};
}
Update nesterov(const UpdateContext& c) {
  const Expr scaled = as(c.rate, c.parameter) * c.gradient;
  const Expr velocity = c.slots[0] * c.hyper[0] - scaled;
  return {c.parameter + velocity * c.hyper[0] - scaled, {velocity}};
}
Update adagrad(const UpdateContext& c) {
  const Expr sum = c.slots[0] + c.gradient * c.gradient;
  return {c.parameter - as(c.rate, c.parameter) * c.gradient / sqrt(sum + c.hyper[1]), {sum}};
}
Update adadelta(const UpdateContext& c) {
  const double rho = c.hyper[0];
  const double epsilon = c.hyper[1];
  const Expr squares = c.slots[0] * rho + c.gradient * c.gradient * (1 - rho);
  const Expr delta = -(sqrt(c.slots[1] + epsilon) * c.gradient / sqrt(squares + epsilon));
  const Expr deltas = c.slots[1] * rho + delta * delta * (1 - rho);
  return {c.parameter + as(c.rate, c.parameter) * delta, {squares, deltas}};
}
Update rmsprop(const UpdateContext& c) {
  const Expr squares = average(c.slots[0], c.gradient * c.gradient, c.hyper[0]);
  const Expr change = as(c.rate, c.parameter) * c.gradient / sqrt(squares + c.hyper[2]);
  const Expr velocity = c.slots[1] * c.hyper[1] + change;
  return {c.parameter - velocity, {squares, velocity}};
}
Update adam(const UpdateContext& c) {
  const double beta1 = c.hyper[0];
  const double beta2 = c.hyper[1];
  const Expr alpha = c.rate * sqrt(1.0 - power(beta2, c.step)) / (1.0 - power(beta1, c.step));
  const Expr m = average(c.slots[0], c.gradient, beta1);
  const Expr v = average(c.slots[1], c.gradient * c.gradient, beta2);
  return {c.parameter - m * as(alpha, c.parameter) / (sqrt(v) + c.hyper[2]), {m, v}};
}
Update adamw(const UpdateContext& c) {
  UpdateContext decayed = c;
  decayed.parameter = c.parameter - c.parameter * as(c.rate * c.hyper[3], c.parameter);
  return adam(decayed);
}

/// cos(pi x) for x in [0, 1] by the series of -sin(pi (x - 1/2)): below 1e-15 off.
Expr cos_pi(Expr x) {
  const Expr y = (x - 0.5) * std::numbers::pi;
  const Expr square = y * y;
  Expr sum = full_like(y, 0);
  for (int k = 10; k >= 0; --k) {
    const double sign = k % 2 == 0 ? -1 : 1;
    sum = sum * square + sign / std::tgamma(2 * k + 2);
  }
  return sum * y;
}

std::vector<Optimizer> make_optimizers() {
  const Hyperparameter beta1{"beta_1", 0.9, 0, 1, "Decay of the first moment."};
  const Hyperparameter beta2{"beta_2", 0.999, 0, 1, "Decay of the second moment."};
  const Hyperparameter epsilon{"epsilon", 1e-7, 0, 1, "Keeps the divisor from 0."};
  const Hyperparameter friction{"momentum", 0.9, 0, 1, "Share of the velocity that stays."};
  const Hyperparameter rho{"rho", 0.9, 0, 1, "Decay of the mean square."};
  return {
      {"sgd", "w - rate g.", 0.01, {}, {}, -1, sgd},
      {"momentum",
       "Velocity v = momentum v - rate g; w + v.",
       0.01,
       {friction},
       {{"velocity"}},
       -1,
       momentum},
      {"nag", "Momentum as Nesterov looks ahead.", 0.01, {friction}, {{"velocity"}}, -1, nesterov},
      {"adagrad",
       "Divides by the root of the sum of squares (Duchi et al. 2011).",
       0.001,
       {{"initial_accumulator", 0.1, 0, 1e9, "Start of the sum of squares."}, epsilon},
       {{"accumulator"}},
       0,
       adagrad},
      {"adadelta",
       "Scales by the ratio of mean squares (Zeiler 2012).",
       0.001,
       {{"rho", 0.95, 0, 1, "Decay of the mean squares."}, epsilon},
       {{"mean_square"}, {"mean_square_delta"}},
       -1,
       adadelta},
      {"rmsprop",
       "Divides by the root of the mean square (Hinton 2012).",
       0.001,
       {rho, {"momentum", 0, 0, 1, "Share of the velocity that stays."}, epsilon},
       {{"mean_square"}, {"velocity"}},
       -1,
       rmsprop},
      {"adam",
       "Moments with bias correction (Kingma and Ba 2015).",
       0.001,
       {beta1, beta2, epsilon},
       {{"m"}, {"v"}},
       -1,
       adam},
      {"adamw",
       "Adam with decoupled decay (Loshchilov and Hutter 2019).",
       0.001,
       {beta1, beta2, epsilon, {"weight_decay", 0.004, 0, 1, "Decay of the parameters."}},
       {{"m"}, {"v"}},
       -1,
       adamw},
  };
}

std::vector<Schedule> make_schedules() {
  return {
      {"constant",
       "The same rate always.",
       {},
       [](Expr rate, Expr, std::span<const double>) { return rate; }},
      {"step",
       "rate * factor^floor(step / every).",
       {{"factor", 0.1, 0, 1, "What each stage keeps."},
        {"every", 1000, 1, 1e15, "Steps of a stage."}},
       [](Expr rate, Expr step, std::span<const double> p) {
         const Expr stage = map("floor", cast(step, ElementType::f64) / p[1]);
         return rate * map("pow", full_like(stage, p[0]), stage);
       }},
      {"exponential",
       "rate * factor^(step / every).",
       {{"factor", 0.96, 0, 1, "What `every` steps keep."},
        {"every", 1000, 1, 1e15, "Steps per factor."}},
       [](Expr rate, Expr step, std::span<const double> p) {
         const Expr stage = cast(step, ElementType::f64) / p[1];
         return rate * map("pow", full_like(stage, p[0]), stage);
       }},
      {"cosine",
       "Half a cosine from rate to final * rate over `steps`, then constant.",
       {{"steps", 1000, 1, 1e15, "Length of the decay."},
        {"final", 0, 0, 1, "Share of the rate that remains."}},
       [](Expr rate, Expr step, std::span<const double> p) {
         const Expr at = cast(step, ElementType::f64) / p[0];
         const Expr progress = map("min", at, full_like(at, 1));
         const Expr cosine = (cos_pi(progress) + 1.0) * 0.5;
         return rate * (cosine * (1 - p[1]) + p[1]);
       }},
      {"inverse_square_root",
       "rate for `steps`, then rate * sqrt(steps / number of the step) (Vaswani et al. 2017).",
       {{"steps", 4000, 1, 1e15, "Steps of the full rate."}},
       [](Expr rate, Expr step, std::span<const double> p) {
         const Expr number = cast(step + 1, ElementType::f64);
         const Expr steps = full_like(number, p[0]);
         return rate * map("sqrt", steps / map("max", number, steps));
       }},
  };
}

}  // namespace

std::span<const Optimizer> optimizers() {
  static const std::vector<Optimizer> records = make_optimizers();
  return records;
}
const Optimizer* find_optimizer(std::string_view name) {
  for (const Optimizer& optimizer : optimizers()) {
    if (optimizer.name == name) return &optimizer;
  }
  return nullptr;
}

std::span<const Schedule> schedules() {
  static const std::vector<Schedule> records = make_schedules();
  return records;
}
const Schedule* find_schedule(std::string_view name) {
  for (const Schedule& schedule : schedules()) {
    if (schedule.name == name) return &schedule;
  }
  return nullptr;
}

Expr warm_up(Expr rate, Expr step, double steps) {
  const Expr share = cast(step + 1, ElementType::f64) / steps;
  return rate * map("min", share, full_like(share, 1));
}

}  // namespace gradus::ir
