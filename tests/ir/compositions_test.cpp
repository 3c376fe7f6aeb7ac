// Activations, losses, optimizers, schedules and initialisers against their formulas in plain f64
// arithmetic of the C++ library. Every registry is walked: a record without a formula here fails.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

#include "ir/compositions/activations.h"
#include "ir/compositions/initialisers.h"
#include "ir/compositions/losses.h"
#include "ir/compositions/optimizers.h"
#include "ir/interpret.h"

namespace gradus::ir {
namespace {

using Numbers = std::vector<double>;

Tensor tensor(const Shape& shape, const Numbers& values) {
  Tensor result(TensorType{ElementType::f64, shape});
  std::ranges::copy(values, result.as<double>().begin());
  return result;
}

/// Values of a function of one f64 input.
Numbers evaluate(const Shape& shape, const Numbers& values,
                 const std::function<Expr(Expr)>& function) {
  Graph graph("composition");
  const Expr x{&graph, graph.add_input("x", InputKind::batch, {ElementType::f64, shape})};
  graph.add_result("y", function(x).value);
  const Tensor y = interpret(graph, {{"x", tensor(shape, values)}}).outputs.at("y");
  return {y.as<double>().begin(), y.as<double>().end()};
}

void expect_near(const Numbers& found, const Numbers& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], tolerance * (1 + std::abs(expected[i]))) << "element " << i;
  }
}

// --- Activations --------------------------------------------------------------------------------

double normal_distribution(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

const std::map<std::string_view, double (*)(double)> kPointwise = {
    {"linear", [](double x) { return x; }},
    {"relu", [](double x) { return std::max(x, 0.0); }},
    {"leaky_relu", [](double x) { return x > 0 ? x : 0.3 * x; }},
    {"gelu", [](double x) { return x * normal_distribution(x); }},
    {"gelu_tanh",
     [](double x) {
       return 0.5 * x *
              (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * std::pow(x, 3))));
     }},
    {"silu", [](double x) { return x / (1 + std::exp(-x)); }},
    {"softplus", [](double x) { return x > 30 ? x : std::log1p(std::exp(x)); }},
    {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"tanh", [](double x) { return std::tanh(x); }},
};

Numbers softmax_of(const Numbers& row) {
  const double greatest = *std::ranges::max_element(row);
  double sum = 0;
  for (double x : row) sum += std::exp(x - greatest);
  Numbers result;
  for (double x : row) result.push_back(std::exp(x - greatest) / sum);
  return result;
}

TEST(Activations, AreTheirFormulas) {
  const Numbers points{-700, -100, -5, -1.5, -0.25, 0, 1e-3, 0.5, 1, 2.75, 30, 100, 700};
  const auto count = static_cast<std::int64_t>(points.size());
  for (const Activation& activation : activations()) {
    SCOPED_TRACE(activation.name);
    const Numbers found = evaluate({count}, points, activation.build);
    if (const auto known = kPointwise.find(activation.name); known != kPointwise.end()) {
      Numbers expected;
      for (double x : points) expected.push_back(known->second(x));
      expect_near(found, expected, 1e-13);
    } else if (activation.name == "softmax") {
      expect_near(found, softmax_of(points), 1e-14);
    } else if (activation.name == "log_softmax") {
      Numbers expected;
      for (double x : points) expected.push_back(x - 700);  // the greatest is far above the rest
      expect_near(found, expected, 1e-14);
    } else {
      ADD_FAILURE() << "no formula";
    }
  }
}

TEST(Activations, RowNormalisationHasMeanZeroAndVarianceOne) {
  const Numbers row{3, -1, 4, 1, -5, 9, 2, 6};
  const Numbers y = evaluate({1, 8}, row, [](Expr x) { return normalize_rows(x, 1e-5); });
  double mean = 0, variance = 0;
  for (double x : row) mean += x / 8;
  for (double x : row) variance += (x - mean) * (x - mean) / 8;
  Numbers expected;
  for (double x : row) expected.push_back((x - mean) / std::sqrt(variance + 1e-5));
  expect_near(y, expected, 1e-14);
}

// --- Losses and metrics -------------------------------------------------------------------------

struct Example {
  Shape shape;
  Numbers prediction;
  Numbers target;  // empty where there are labels
  std::vector<std::int32_t> labels;
};

template <typename Record>
double value_of(const Record& record, Prediction kind, const Example& example) {
  Graph graph("loss");
  const TensorType type{ElementType::f64, example.shape};
  const Expr p{&graph, graph.add_input("p", InputKind::batch, type)};
  std::map<std::string, Tensor> inputs{{"p", tensor(example.shape, example.prediction)}};
  Expr t;
  if (example.labels.empty()) {
    t = {&graph, graph.add_input("t", InputKind::batch, type)};
    inputs["t"] = tensor(example.shape, example.target);
  } else {
    const TensorType labels{ElementType::i32, {example.shape[0]}};
    t = {&graph, graph.add_input("t", InputKind::batch, labels)};
    inputs["t"] = Tensor(labels);
    std::ranges::copy(example.labels, inputs["t"].as<std::int32_t>().begin());
  }
  graph.add_result("loss", record.build({p, kind, t}).value);
  return interpret(graph, inputs).outputs.at("loss").template as<double>()[0];
}

TEST(Losses, AreTheirFormulas) {
  const Example numbers{{2, 2}, {1, 2, 3, 4}, {0, 2, 5, 3}, {}};
  const Example shares{{2, 2}, {0.25, 0.5, 0.9, 0.2}, {0, 1, 1, 0.5}, {}};
  const Example scores{{2, 2}, {-1.5, 0.25, 100, -100}, {0, 1, 1, 0.5}, {}};
  const Example classes{{2, 3}, {1, 2, 3, -100, 0, 100}, {0, 0.5, 0.5, 0, 1, 0}, {}};
  const Example likely{{2, 3}, {0.2, 0.3, 0.5, 0.1, 0.1, 0.8}, {0, 0.5, 0.5, 0, 1, 0}, {}};
  const auto labelled = [](Example example) {
    example.target.clear();
    example.labels = {2, 1};
    return example;
  };
  const auto log_share = [](const Numbers& row, std::size_t i) {
    return std::log(softmax_of(row)[i]);
  };
  const Numbers row{1, 2, 3};
  std::map<std::string_view, std::vector<std::pair<double, double>>> cases;
  const auto add = [&](std::string_view name, Prediction kind, const Example& example,
                       double expected) {
    cases[name].push_back({value_of(*find_loss(name), kind, example), expected});
  };
  add("mean_squared_error", Prediction::value, numbers, (1 + 0 + 4 + 1) / 4.0);
  add("mean_absolute_error", Prediction::value, numbers, (1 + 0 + 2 + 1) / 4.0);
  add("binary_cross_entropy", Prediction::probability, shares,
      -(std::log(0.75) + std::log(0.5) + std::log(0.9) + 0.5 * std::log(0.2) +
        0.5 * std::log(0.8)) /
          4);
  add("binary_cross_entropy", Prediction::logit, scores,
      (std::log1p(std::exp(-1.5)) + std::log1p(std::exp(-0.25)) + 0 + 50) / 4);
  add("categorical_cross_entropy", Prediction::logit, classes,
      -(0.5 * log_share(row, 1) + 0.5 * log_share(row, 2) - 100) / 2);
  add("categorical_cross_entropy", Prediction::probability, likely,
      -(0.5 * std::log(0.3) + 0.5 * std::log(0.5) + std::log(0.1)) / 2);
  add("sparse_categorical_cross_entropy", Prediction::logit, labelled(classes),
      -(log_share(row, 2) - 100) / 2);
  add("sparse_categorical_cross_entropy", Prediction::probability, labelled(likely),
      -(std::log(0.5) + std::log(0.1)) / 2);
  add("mean", Prediction::value, numbers, (1 + 2 + 3 + 4) / 4.0);
  for (const Loss& loss : losses()) {
    ASSERT_EQ(cases[loss.name].size(), loss.classifies ? 2u : 1u) << loss.name;
    for (const auto& [found, expected] : cases[loss.name]) {
      EXPECT_NEAR(found, expected, 1e-12 * (1 + expected)) << loss.name;
    }
  }
}

TEST(Metrics, AreTheirFormulas) {
  const Example numbers{{2, 2}, {1, 2, 3, 4}, {0, 2, 5, 3}, {}};
  const Example classes{{2, 3}, {1, 2, 3, 9, 0, 1}, {}, {2, 1}};
  const Example binary{{4, 1}, {0.2, 0.7, 0.6, 0.4}, {0, 1, 0, 1}, {}};
  for (const Metric& metric : metrics()) {
    SCOPED_TRACE(metric.name);
    if (metric.name == "accuracy") {
      EXPECT_EQ(value_of(metric, Prediction::logit, classes), 0.5);
      EXPECT_EQ(value_of(metric, Prediction::probability, binary), 0.5);
    } else if (metric.name == "sequence_accuracy") {
      EXPECT_EQ(value_of(metric, Prediction::logit, classes), 0.5);
      EXPECT_EQ(value_of(metric, Prediction::probability, binary), 0.5);
    } else if (metric.name == "mean_absolute_error") {
      EXPECT_EQ(value_of(metric, Prediction::value, numbers), 1.0);
    } else {
      EXPECT_TRUE(metric.name == "mean_squared_error" || metric.name == "root_mean_squared_error");
      EXPECT_EQ(value_of(metric, Prediction::value, numbers), 1.5);
    }
  }
}

/// A loss or metric of logits [2, 3, 2] whose greatest are 0 1 1 / 0 0 1; no number where
/// there is a fault.
template <typename Record>
double weighted(const Record& record, const std::vector<std::int32_t>& labels,
                const Shape& weights_shape, const Numbers& weights) {
  Graph graph("loss");
  std::map<std::string, Tensor> inputs;
  inputs["p"] = tensor({2, 3, 2}, {2, 0, 0, 1, 0, 3, 4, 0, 5, 0, 0, 6});
  inputs["t"] = Tensor({ElementType::i32, {2, 3}});
  std::ranges::copy(labels, inputs["t"].as<std::int32_t>().begin());
  inputs["w"] = tensor(weights_shape, weights);
  const auto input = [&](const std::string& name) {
    return Expr{&graph, graph.add_input(name, InputKind::batch, inputs.at(name).type)};
  };
  graph.add_result("loss",
                   record.build({input("p"), Prediction::logit, input("t"), input("w")}).value);
  const Interpretation found = interpret(graph, inputs);
  if (found.fault.kind != FaultKind::none) return std::numeric_limits<double>::quiet_NaN();
  return found.outputs.at("loss").template as<double>()[0];
}

/// What does not count needs no class; what counts a little does, and is a fault.
TEST(Losses, LabelsOfWeightZeroNeedNotBeClasses) {
  const Loss& loss = *find_loss("sparse_categorical_cross_entropy");
  const double right = std::log1p(std::exp(-2.0));
  EXPECT_NEAR(weighted(loss, {0, -1, 9, 5, 7, -3}, {2, 3}, {1, 0, 0, 0, 0, 0}), right, 1e-12);
  EXPECT_TRUE(std::isnan(weighted(loss, {0, -1, 9, 5, 7, -3}, {2, 3}, {1, 0.5, 0, 0, 0, 0})));
}

TEST(Losses, WeightsSayHowMuchEachCounts) {
  const std::vector<std::int32_t> labels{0, 1, 0, 0, 1, 1};
  const auto loss = [&](const Shape& shape, const Numbers& weights) {
    return weighted(*find_loss("sparse_categorical_cross_entropy"), labels, shape, weights);
  };
  // The probability of the other class at a distance of d is 1 / (1 + e^d).
  const auto right = [](double d) { return std::log1p(std::exp(-d)); };
  const auto wrong = [](double d) { return std::log1p(std::exp(d)); };
  EXPECT_NEAR(loss({2, 3}, {1, 0, 0, 0, 0, 0}), right(2), 1e-12);
  EXPECT_NEAR(loss({2, 3}, {1, 0, 3, 0, 0.5, 0}), (right(2) + 3 * wrong(3) + 0.5 * wrong(5)) / 4.5,
              1e-12);
  EXPECT_NEAR(loss({2}, {1, 2}),
              (right(2) + right(1) + wrong(3) + 2 * (right(4) + wrong(5) + right(6))) / 9, 1e-12);
  EXPECT_EQ(loss({2, 3}, {0, 0, 0, 0, 0, 0}), 0);
  EXPECT_THROW((void)loss({3}, {1, 1, 1}), TypeError);
  EXPECT_THROW((void)loss({}, {1}), TypeError);
}

TEST(Metrics, WeightsSayWhichPositionsCount) {
  const Metric& accuracy = *find_metric("accuracy");
  const Metric& sequence = *find_metric("sequence_accuracy");
  const Shape all{2, 3};
  EXPECT_NEAR(weighted(accuracy, {0, 1, 1, 0, 1, 1}, all, {1, 1, 1, 1, 1, 1}), 5.0 / 6, 1e-15);
  EXPECT_NEAR(weighted(accuracy, {0, 1, 1, 0, 1, 1}, all, {1, 1, 1, 1, 2, 1}), 5.0 / 7, 1e-15);
  EXPECT_EQ(weighted(accuracy, {0, 1, 1, 0, 1, 1}, all, {1, 1, 1, 1, 0, 1}), 1);
  EXPECT_EQ(weighted(sequence, {0, 1, 1, 0, 1, 1}, all, {1, 1, 1, 1, 1, 1}), 0.5);
  EXPECT_EQ(weighted(sequence, {0, 1, 1, 0, 0, 1}, all, {1, 1, 1, 1, 1, 1}), 1);
  EXPECT_EQ(weighted(sequence, {0, 1, 1, 0, 1, 1}, all, {1, 1, 1, 1, 0, 1}), 1);
  EXPECT_EQ(weighted(sequence, {1, 1, 1, 0, 1, 1}, all, {1, 1, 1, 1, 0, 1}), 0.5);
  // A sequence of which nothing counts does not count itself.
  EXPECT_EQ(weighted(sequence, {1, 1, 1, 0, 1, 1}, all, {0, 0, 0, 1, 1, 1}), 0);
  EXPECT_EQ(weighted(sequence, {1, 1, 1, 0, 0, 1}, all, {0, 0, 0, 1, 1, 1}), 1);
  EXPECT_EQ(weighted(sequence, {1, 1, 1, 0, 1, 1}, all, {0, 0, 0, 0, 0, 0}), 0);
}

// --- Optimizers ---------------------------------------------------------------------------------

/// One weight under an optimizer, as its paper (in Keras's variant) writes it.
struct Weight {
  double w = 0, a = 0, b = 0;  // the weight and its slots
};
using Recurrence = void (*)(Weight& x, double g, double rate, const Numbers& h, int t);

void adam(Weight& x, double g, double rate, const Numbers& h, int t) {
  x.a = h[0] * x.a + (1 - h[0]) * g;
  x.b = h[1] * x.b + (1 - h[1]) * g * g;
  const double corrected = std::sqrt(1 - std::pow(h[1], t)) / (1 - std::pow(h[0], t));
  x.w -= rate * corrected * x.a / (std::sqrt(x.b) + h[2]);
}

const std::map<std::string_view, Recurrence> kRecurrences = {
    {"sgd", [](Weight& x, double g, double rate, const Numbers&, int) { x.w -= rate * g; }},
    {"momentum",
     [](Weight& x, double g, double rate, const Numbers& h, int) {
       x.a = h[0] * x.a - rate * g;
       x.w += x.a;
     }},
    {"nag",
     [](Weight& x, double g, double rate, const Numbers& h, int) {
       x.a = h[0] * x.a - rate * g;
       x.w += h[0] * x.a - rate * g;
     }},
    {"adagrad",
     [](Weight& x, double g, double rate, const Numbers& h, int) {
       x.a += g * g;
       x.w -= rate * g / std::sqrt(x.a + h[1]);
     }},
    {"adadelta",
     [](Weight& x, double g, double rate, const Numbers& h, int) {
       x.a = h[0] * x.a + (1 - h[0]) * g * g;
       const double delta = -std::sqrt(x.b + h[1]) / std::sqrt(x.a + h[1]) * g;
       x.b = h[0] * x.b + (1 - h[0]) * delta * delta;
       x.w += rate * delta;
     }},
    {"rmsprop",
     [](Weight& x, double g, double rate, const Numbers& h, int) {
       x.a = h[0] * x.a + (1 - h[0]) * g * g;
       x.b = h[1] * x.b + rate * g / std::sqrt(x.a + h[2]);
       x.w -= x.b;
     }},
    {"adam", adam},
    {"adamw",
     [](Weight& x, double g, double rate, const Numbers& h, int t) {
       x.w -= rate * h[3] * x.w;
       adam(x, g, rate, h, t);
     }},
};

/// The weight after one step of the optimizer's graph.
Weight step_of_graph(const Optimizer& optimizer, const Weight& before, double gradient, double rate,
                     const Numbers& hyper, std::int64_t step) {
  Graph graph("step");
  std::map<std::string, Tensor> inputs;
  const auto scalar = [&](const std::string& name, double value) {
    inputs[name] = tensor({}, {value});
    return Expr{&graph, graph.add_input(name, InputKind::scalar, {ElementType::f64, {}})};
  };
  inputs["step"] = Tensor::scalar(ElementType::i64, step);
  const Expr steps{&graph, graph.add_input("step", InputKind::scalar, {ElementType::i64, {}})};
  UpdateContext context{
      scalar("w", before.w), scalar("g", gradient), {}, scalar("rate", rate), steps, hyper};
  const double slots[] = {before.a, before.b};
  for (std::size_t i = 0; i < optimizer.slots.size(); ++i) {
    context.slots.push_back(scalar("slot" + std::to_string(i), slots[i]));
  }
  const Update update = optimizer.build(context);
  graph.add_result("new w", update.parameter.value);
  for (std::size_t i = 0; i < update.slots.size(); ++i) {
    graph.add_result("new slot" + std::to_string(i), update.slots[i].value);
  }
  const Interpretation result = interpret(graph, inputs);
  const auto found = [&](const std::string& name) {
    const auto at = result.outputs.find(name);
    return at == result.outputs.end() ? 0 : at->second.as<double>()[0];
  };
  return {found("new w"), found("new slot0"), found("new slot1")};
}

TEST(Optimizers, FollowTheirRecurrences) {
  const double gradients[] = {0.5, -2, 0, 1e-3, 7, -0.25, 3};
  for (const Optimizer& optimizer : optimizers()) {
    const auto recurrence = kRecurrences.find(optimizer.name);
    ASSERT_NE(recurrence, kRecurrences.end()) << optimizer.name << " has no recurrence";
    for (bool defaults : {true, false}) {
      SCOPED_TRACE(std::string(optimizer.name) + (defaults ? "" : " with other hyperparameters"));
      Numbers hyper;
      for (const Hyperparameter& parameter : optimizer.hyperparameters) {
        hyper.push_back(defaults ? parameter.default_value : 0.5 * parameter.default_value + 0.01);
      }
      Weight expected{.w = 1.5};
      if (optimizer.initial_slot >= 0) {
        expected.a = hyper[static_cast<std::size_t>(optimizer.initial_slot)];
      }
      Weight found = expected;
      const double rate = defaults ? optimizer.learning_rate : 0.3;
      for (int t = 0; double gradient : gradients) {
        found = step_of_graph(optimizer, found, gradient, rate, hyper, t);
        recurrence->second(expected, gradient, rate, hyper, ++t);
        expect_near({found.w, found.a, found.b}, {expected.w, expected.a, expected.b}, 1e-12);
      }
    }
  }
}

double rate_at(const std::function<Expr(Expr, Expr)>& schedule, std::int64_t step) {
  Graph graph("rate");
  const Expr rate{&graph, graph.add_input("rate", InputKind::scalar, {ElementType::f64, {}})};
  const Expr at{&graph, graph.add_input("step", InputKind::scalar, {ElementType::i64, {}})};
  graph.add_result("y", schedule(rate, at).value);
  const Interpretation result = interpret(
      graph, {{"rate", tensor({}, {0.2})}, {"step", Tensor::scalar(ElementType::i64, step)}});
  return result.outputs.at("y").as<double>()[0];
}

TEST(Schedules, AreTheirFormulas) {
  using Formula = double (*)(double step, const Numbers& p);
  const std::map<std::string_view, Formula> formulas = {
      {"constant", [](double, const Numbers&) { return 1.0; }},
      {"step",
       [](double step, const Numbers& p) { return std::pow(p[0], std::floor(step / p[1])); }},
      {"exponential", [](double step, const Numbers& p) { return std::pow(p[0], step / p[1]); }},
      {"cosine",
       [](double step, const Numbers& p) {
         const double progress = std::min(step / p[0], 1.0);
         return (1 - p[1]) * 0.5 * (1 + std::cos(std::numbers::pi * progress)) + p[1];
       }},
      {"inverse_square_root",
       [](double step, const Numbers& p) { return std::min(1.0, std::sqrt(p[0] / (step + 1))); }},
  };
  for (const Schedule& schedule : schedules()) {
    SCOPED_TRACE(schedule.name);
    const auto formula = formulas.find(schedule.name);
    ASSERT_NE(formula, formulas.end());
    Numbers parameters;
    for (const Hyperparameter& parameter : schedule.parameters) {
      parameters.push_back(parameter.default_value > 1 ? 10 : parameter.default_value);
    }
    for (std::int64_t step : {0, 1, 5, 9, 10, 11, 99, 1'000}) {
      const double found =
          rate_at([&](Expr rate, Expr at) { return schedule.build(rate, at, parameters); }, step);
      EXPECT_NEAR(found, 0.2 * formula->second(static_cast<double>(step), parameters), 1e-12)
          << "step " << step;
    }
  }
  for (std::int64_t step : {0, 3, 7, 8, 100}) {
    const double found = rate_at([](Expr rate, Expr at) { return warm_up(rate, at, 8); }, step);
    EXPECT_NEAR(found, 0.2 * std::min(1.0, static_cast<double>(step + 1) / 8), 1e-15);
  }
}

// --- Initialisers -------------------------------------------------------------------------------

struct Moments {
  double mean = 0, deviation = 0, least = 0, greatest = 0;
};

Moments moments_of(const Initialiser& initialiser, const Shape& shape, const Numbers& parameters) {
  Graph graph("init");
  const Expr seed{&graph, graph.add_input("seed", InputKind::scalar, {ElementType::i64, {}})};
  graph.add_result("y", initialiser.build(seed, 3, shape, parameters).value);
  const Tensor y = interpret(graph, {{"seed", Tensor::scalar(ElementType::i64, std::int64_t{5})}})
                       .outputs.at("y");
  Moments result{.least = y.as<float>()[0], .greatest = y.as<float>()[0]};
  const auto count = static_cast<double>(y.as<float>().size());
  for (float x : y.as<float>()) {
    result.mean += x / count;
    result.least = std::min<double>(result.least, x);
    result.greatest = std::max<double>(result.greatest, x);
  }
  for (float x : y.as<float>()) result.deviation += (x - result.mean) * (x - result.mean) / count;
  result.deviation = std::sqrt(result.deviation);
  return result;
}

TEST(Initialisers, HaveTheirMoments) {
  const Shape shape{150, 250};
  const auto limit = [](double variance) { return std::sqrt(3 * variance); };
  const double kFar = 1e9;
  struct Expected {
    double mean, deviation, bound;
  };
  const double cut = 2 / 0.87962566103423978;  // two deviations before the cut
  const auto uniform = [&](double variance) {
    return Expected{0, std::sqrt(variance), limit(variance)};
  };
  const auto normal = [&](double variance) {
    return Expected{0, std::sqrt(variance), cut * std::sqrt(variance)};
  };
  const std::map<std::string_view, Expected> expected = {
      {"zeros", {0, 0, 0}},
      {"ones", {1, 0, 1}},
      {"constant", {0, 0, 0}},
      {"normal", {0, 0.05, kFar}},
      {"uniform", {0, 0.1 / std::sqrt(12), 0.05}},
      {"glorot_uniform", uniform(2.0 / 400)},
      {"glorot_normal", normal(2.0 / 400)},
      {"he_uniform", uniform(2.0 / 150)},
      {"he_normal", normal(2.0 / 150)},
      {"lecun_uniform", uniform(1.0 / 150)},
      {"lecun_normal", normal(1.0 / 150)},
  };
  for (const Initialiser& initialiser : initialisers()) {
    SCOPED_TRACE(initialiser.name);
    const auto known = expected.find(initialiser.name);
    ASSERT_NE(known, expected.end());
    Numbers parameters;
    for (const Hyperparameter& p : initialiser.parameters) parameters.push_back(p.default_value);
    const Moments found = moments_of(initialiser, shape, parameters);
    const double error = 5 * known->second.deviation / std::sqrt(150 * 250);  // five deviations
    EXPECT_NEAR(found.mean, known->second.mean, error + 1e-12);
    EXPECT_NEAR(found.deviation, known->second.deviation, error + 1e-12);
    EXPECT_LE(std::max(-found.least, found.greatest), known->second.bound * (1 + 1e-6));
  }
  const Moments moved = moments_of(*find_initialiser("normal"), shape, {3, 0.5});
  EXPECT_NEAR(moved.mean, 3, 0.02);
  EXPECT_NEAR(moved.deviation, 0.5, 0.02);
  EXPECT_EQ(moments_of(*find_initialiser("constant"), shape, {0.25}).greatest, 0.25);
}

}  // namespace
}  // namespace gradus::ir
