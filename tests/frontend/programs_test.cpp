// The programs of a model: first values, updates, losses, against formulas written out here.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "frontend/model.h"
#include "ir/interpret.h"

namespace gradus::frontend {
namespace {

using Tensors = std::map<std::string, Tensor>;

Tensor counter(std::int64_t value) { return Tensor::scalar(ElementType::i64, value); }

std::span<const float> floats(const Tensors& tensors, const std::string& name) {
  return tensors.at(name).as<float>();
}

Tensors initial_state(const Model& model, std::int64_t seed) {
  Tensors inputs{{"initial_seed", counter(seed)}};
  for (const StateSpec& entry : model.state()) inputs.emplace(entry.name, Tensor(entry.type));
  return ir::interpret(model.init(), inputs).updates;
}

// --- First values ---

struct Distribution {
  std::string initializer;
  double mean, deviation, least, greatest;
};

/// A dense layer from 150 to 250.
Model wide_model(const std::string& initializer) {
  return Model("file.json", R"({"gradus": 1, "data": {"source": "linear"},
    "model": {"inputs": {"x": "f32[150]", "y": "f32[250]"}, "layers": [
      {"layer": "dense", "from": "x", "units": 250, "name": "one", "kernel_initializer": )" +
                                initializer + R"(},
      {"layer": "dense", "from": "x", "units": 250, "name": "two", "kernel_initializer": )" +
                                initializer + R"(},
      {"layer": "add", "from": ["one", "two"]}]},
    "loss": {"function": "mean_squared_error", "predictions": "add", "targets": "y"},
    "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})");
}

TEST(Initialisers, FollowKerasDefinitions) {
  const double in = 150;
  const double out = 250;
  const auto uniform = [](const std::string& name, double limit) {
    return Distribution{"\"" + name + "\"", 0, limit / std::sqrt(3.0), -limit, limit};
  };
  // A normal cut at two deviations has 0.8796 of them left; Keras divides by that.
  const auto normal = [](const std::string& name, double deviation) {
    const double cut = 2 * deviation / 0.87962566103423978;
    return Distribution{"\"" + name + "\"", 0, deviation, -cut, cut};
  };
  const Distribution cases[] = {
      {"\"zeros\"", 0, 0, 0, 0},
      {"\"ones\"", 1, 0, 1, 1},
      {R"({"function": "constant", "value": 0.25})", 0.25, 0, 0.25, 0.25},
      {R"({"function": "uniform", "low": -1, "high": 3})", 1, 4 / std::sqrt(12.0), -1, 3},
      {R"({"function": "normal", "mean": 2, "deviation": 0.5})", 2, 0.5, -1, 5},
      uniform("glorot_uniform", std::sqrt(6 / (in + out))),
      uniform("he_uniform", std::sqrt(6 / in)),
      uniform("lecun_uniform", std::sqrt(3 / in)),
      normal("glorot_normal", std::sqrt(2 / (in + out))),
      normal("he_normal", std::sqrt(2 / in)),
      normal("lecun_normal", std::sqrt(1 / in)),
  };
  EXPECT_EQ(std::size(cases), ir::initialisers().size());
  for (const Distribution& expected : cases) {
    SCOPED_TRACE(expected.initializer);
    const Model model = wide_model(expected.initializer);
    const Tensors state = initial_state(model, 1);
    const std::span<const float> w = floats(state, "one/kernel");
    const double n = static_cast<double>(w.size());
    double mean = 0;
    double square = 0;
    for (float x : w) mean += x / n;
    for (float x : w) square += (x - mean) * (x - mean) / n;
    EXPECT_NEAR(mean, expected.mean, 5 * expected.deviation / std::sqrt(n) + 1e-6);
    EXPECT_NEAR(std::sqrt(square), expected.deviation, 0.02 * expected.deviation + 1e-6);
    EXPECT_GE(*std::ranges::min_element(w), static_cast<float>(expected.least) - 1e-6);
    EXPECT_LE(*std::ranges::max_element(w), static_cast<float>(expected.greatest) + 1e-6);
    EXPECT_EQ(initial_state(model, 1), state);
    if (expected.deviation == 0) continue;
    EXPECT_NE(state.at("one/kernel"), state.at("two/kernel"));
    EXPECT_NE(state.at("one/kernel"), initial_state(model, 2).at("one/kernel"));
  }
}

TEST(Initialisers, TruncatedNormalsHaveNoAtoms) {
  const Tensors state = initial_state(wide_model("\"he_normal\""), 3);
  const std::span<const float> w = floats(state, "one/kernel");
  const double cut = 2 * std::sqrt(2.0 / 150) / 0.87962566103423978;
  const auto within = [&](double low, double high) {
    return static_cast<double>(std::ranges::count_if(
               w, [&](float x) { return std::abs(x) >= low * cut && std::abs(x) <= high * cut; })) /
           static_cast<double>(w.size());
  };
  // Shares of a standard normal between these deviations, cut at 2: (erf(b/√2) - erf(a/√2)) /
  // erf(√2).
  for (const auto& [a, b] : {std::pair{0.0, 0.5}, {0.5, 0.9}, {0.9, 0.99}, {0.99, 1.0}}) {
    const double share = (std::erf(2 * b / std::sqrt(2.0)) - std::erf(2 * a / std::sqrt(2.0))) /
                         std::erf(std::sqrt(2.0));
    EXPECT_NEAR(within(a, b), share, 5 * std::sqrt(share / static_cast<double>(w.size())));
  }
}

TEST(Initialisers, AnotherLayerLeavesTheNumbersAlone) {
  const auto file = [](const std::string& first) {
    return Model("file.json", R"({"gradus": 1, "data": {"source": "linear"},
      "model": {"inputs": {"x": "f32[4]", "y": "f32[3]"}, "layers": [)" +
                                  first + R"(
        {"layer": "dense", "from": "x", "units": 3, "name": "kept"}]},
      "loss": {"function": "mean_squared_error", "predictions": "kept", "targets": "y"},
      "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})");
  };
  EXPECT_EQ(
      initial_state(file(""), 5).at("kept/kernel"),
      initial_state(file(R"({"layer": "dense", "from": "x", "units": 3},)"), 5).at("kept/kernel"));
}

// --- Updates: y = w x with x = 1, target t, so the loss is (w - t)^2 and its slope 2 (w - t). ---

struct Step {
  double w, slot = 0, slot2 = 0;
  std::int64_t step = 0;
};

/// One training step of a model with one weight; the new weight.
float trained(const std::string& optimizer, const Step& at, const std::string& layer = "",
              float* loss = nullptr) {
  const Model model("file.json", R"({"gradus": 1, "data": {"source": "linear"},
    "model": {"inputs": {"x": "f32[1]", "y": "f32[1]"}, "layers": [
      {"layer": "dense", "from": "x", "units": 1, "use_bias": false, "name": "line")" +
                                     layer +
                                     R"(}]},
    "loss": {"function": "mean_squared_error", "predictions": "line", "targets": "y"},
    "optimizer": )" + optimizer + R"(, "training": {"epochs": 1}})");
  const auto f32 = [](double value, Shape shape) {
    Tensor tensor({ElementType::f32, std::move(shape)});
    for (float& x : tensor.as<float>()) x = static_cast<float>(value);
    return tensor;
  };
  Tensors inputs{{"x", f32(1, {2, 1})},
                 {"y", f32(0.5, {2, 1})},
                 {"seed", counter(1)},
                 {"step", counter(at.step)}};
  const double slots[] = {at.slot, at.slot2};
  std::size_t slot = 0;
  for (const StateSpec& entry : model.state()) {
    if (entry.kind == StateKind::parameter) inputs.emplace(entry.name, f32(at.w, {1, 1}));
    if (entry.kind == StateKind::slot) inputs.emplace(entry.name, f32(slots[slot++], {1, 1}));
  }
  const ir::Interpretation result = ir::interpret(model.train_step(2), inputs);
  EXPECT_EQ(result.updates.at("step"), counter(at.step + 1));
  EXPECT_EQ(result.updates.size(), model.state().size() - 1);  // all but the seed
  if (loss) *loss = floats(result.outputs, "loss")[0];
  return floats(result.updates, "line/kernel")[0];
}

constexpr double kSlope = 2 * (2.0 - 0.5);  // at w = 2

TEST(Updates, FollowTheirFormulas) {
  EXPECT_NEAR(trained(R"({"method": "sgd", "learning_rate": 0.1})", {2}), 2 - 0.1 * kSlope, 1e-6);
  EXPECT_NEAR(trained(R"({"method": "sgd"})", {2}), 2 - 0.01 * kSlope, 1e-6);
  EXPECT_NEAR(
      trained(R"({"method": "momentum", "momentum": 0.8, "learning_rate": 0.1})", {2, -0.25}),
      2 + 0.8 * -0.25 - 0.1 * kSlope, 1e-6);
  const double velocity = 0.9 * -0.25 - 0.1 * kSlope;
  EXPECT_NEAR(trained(R"({"method": "nag", "learning_rate": 0.1})", {2, -0.25}),
              2 + 0.9 * velocity - 0.1 * kSlope, 1e-6);
  const double m = 0.9 * 0.3 + 0.1 * kSlope;
  const double v = 0.999 * 0.7 + 0.001 * kSlope * kSlope;
  const double adam = 0.001 * std::sqrt(1 - std::pow(0.999, 5)) / (1 - std::pow(0.9, 5)) * m /
                      (std::sqrt(v) + 1e-7);
  EXPECT_NEAR(trained(R"({"method": "adam"})", {2, 0.3, 0.7, 4}), 2 - adam, 1e-6);
}

TEST(Updates, ClipDecayAndPenalise) {
  EXPECT_NEAR(trained(R"({"method": "sgd", "learning_rate": 0.1, "clip_norm": 0.5})", {2}),
              2 - 0.1 * 0.5, 1e-6);
  EXPECT_NEAR(trained(R"({"method": "sgd", "learning_rate": 0.1, "clip_norm": 50})", {2}),
              2 - 0.1 * kSlope, 1e-6);
  EXPECT_NEAR(trained(R"({"method": "sgd", "learning_rate": 0.1, "weight_decay": 0.5})", {2}),
              2 - 0.1 * 0.5 * 2 - 0.1 * kSlope, 1e-6);
  float loss = 0;
  EXPECT_NEAR(trained(R"({"method": "sgd", "learning_rate": 0.1})", {2},
                      R"(, "l1": 0.25, "l2": 0.125)", &loss),
              2 - 0.1 * (kSlope + 0.25 + 0.125 * 2 * 2), 1e-6);
  EXPECT_NEAR(loss, 1.5 * 1.5 + 0.25 * 2 + 0.125 * 4, 1e-6);
}

TEST(Updates, SchedulesGiveTheRateOfTheStep) {
  const auto rate = [](const std::string& schedule, std::int64_t step) {
    return (2 -
            trained(R"({"method": "sgd", "learning_rate": )" + schedule + "}", {2, 0, 0, step})) /
           kSlope;
  };
  struct Case {
    std::string schedule;
    std::function<double(double)> expected;
  };
  const Case cases[] = {
      {R"({"schedule": "constant", "rate": 0.5})", [](double) { return 0.5; }},
      {R"({"schedule": "step", "rate": 0.5, "factor": 0.5, "every": 10})",
       [](double t) { return 0.5 * std::pow(0.5, std::floor(t / 10)); }},
      {R"({"schedule": "exponential", "rate": 0.5, "factor": 0.5, "every": 10})",
       [](double t) { return 0.5 * std::pow(0.5, t / 10); }},
      {R"({"schedule": "cosine", "rate": 0.5, "steps": 20, "final": 0.1})",
       [](double t) {
         const double share = (1 + std::cos(std::acos(-1.0) * std::min(t / 20, 1.0))) / 2;
         return 0.5 * (share * 0.9 + 0.1);
       }},
      {R"({"schedule": "inverse_square_root", "rate": 0.5, "steps": 10})",
       [](double t) { return 0.5 * std::sqrt(10 / std::max(t + 1, 10.0)); }},
  };
  EXPECT_EQ(std::size(cases), ir::schedules().size());
  for (const Case& test : cases) {
    for (std::int64_t step : {0, 1, 9, 10, 19, 25}) {
      const auto t = static_cast<double>(step);
      EXPECT_NEAR(rate(test.schedule, step), test.expected(t), 2e-7) << test.schedule << step;
      std::string warm = test.schedule;
      warm.insert(warm.size() - 1, R"(, "warm_up": 4)");
      EXPECT_NEAR(rate(warm, step), test.expected(t) * std::min(1.0, (t + 1) / 4), 2e-7) << warm;
    }
  }
}

// --- Losses and metrics see the inputs that the file names ---

TEST(Programs, LossAndMetricsAreMeansOverTheBatch) {
  const Model model("file.json", R"({"gradus": 1, "data": {"source": "spirals", "classes": 3},
    "model": {"inputs": {"point": "f32[3]", "label": "i32[]"}, "layers": [
      {"layer": "activation", "function": "linear", "from": "point", "name": "logits"}]},
    "loss": {"function": "sparse_categorical_cross_entropy", "logits": "logits", "labels": "label"},
    "metrics": {"accuracy": {"logits": "logits", "labels": "label"}},
    "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})");
  const float rows[4][3] = {{1, 2, 3}, {0.5, -1, 0}, {-2, 4, 4.5}, {3, 1, 1}};
  const std::int32_t labels[4] = {2, 1, 1, 0};
  Tensor points({ElementType::f32, {4, 3}});
  Tensor classes({ElementType::i32, {4}});
  double loss = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      points.as<float>()[i * 3 + j] = rows[i][j];
      sum += std::exp(double{rows[i][j]});
    }
    classes.as<std::int32_t>()[i] = labels[i];
    loss -= (rows[i][labels[i]] - std::log(sum)) / 4;
  }
  const ir::Interpretation result =
      ir::interpret(model.evaluate(4), {{"point", points}, {"label", classes}});
  EXPECT_NEAR(floats(result.outputs, "loss")[0], loss, 1e-6);
  EXPECT_EQ(floats(result.outputs, "accuracy")[0], 0.5f);
  EXPECT_TRUE(result.updates.empty());
}

TEST(Programs, InitWritesCountersAndSlots) {
  const Model model("file.json", R"({"gradus": 1, "data": {"source": "linear"},
    "model": {"inputs": {"x": "f32[1]", "y": "f32[1]"}, "layers": [
      {"layer": "dense", "from": "x", "units": 1, "name": "line"}]},
    "loss": {"function": "mean_squared_error", "predictions": "line", "targets": "y"},
    "optimizer": {"method": "adagrad", "initial_accumulator": 0.25}, "training": {"epochs": 1}})");
  const Tensors state = initial_state(model, 77);
  EXPECT_EQ(state.at("seed"), counter(77));
  EXPECT_EQ(state.at("step"), counter(0));
  EXPECT_EQ(floats(state, "line/kernel/accumulator")[0], 0.25f);
  EXPECT_EQ(floats(state, "line/bias")[0], 0.0f);
  EXPECT_EQ(state.size(), model.state().size());
}

TEST(Programs, TrainingLowersTheLoss) {
  const Model model("file.json", R"({"gradus": 1, "data": {"source": "linear"},
    "model": {"inputs": {"x": "f32[1]", "y": "f32[1]"}, "layers": [
      {"layer": "dense", "from": "x", "units": 8, "activation": "tanh"},
      {"layer": "layer_norm"}, {"layer": "dropout", "rate": 0.1},
      {"layer": "dense", "units": 1, "name": "line"}]},
    "loss": {"function": "mean_squared_error", "predictions": "line", "targets": "y"},
    "optimizer": {"method": "adam", "learning_rate": 0.05}, "training": {"epochs": 1}})");
  Tensor x({ElementType::f32, {16, 1}});
  Tensor y({ElementType::f32, {16, 1}});
  for (std::size_t i = 0; i < 16; ++i) {
    x.as<float>()[i] = static_cast<float>(i) / 8 - 1;
    y.as<float>()[i] = 2 * x.as<float>()[i] + 1;
  }
  Tensors state = initial_state(model, 1);
  const ir::Graph step = model.train_step(16);
  std::vector<float> losses;
  for (int i = 0; i < 60; ++i) {
    Tensors inputs = state;
    inputs["x"] = x;
    inputs["y"] = y;
    const ir::Interpretation result = ir::interpret(step, inputs);
    for (const auto& [name, value] : result.updates) state[name] = value;
    losses.push_back(floats(result.outputs, "loss")[0]);
  }
  EXPECT_EQ(state.at("step"), counter(60));
  EXPECT_LT(losses.back(), 0.2f * losses.front());
}

}  // namespace
}  // namespace gradus::frontend
