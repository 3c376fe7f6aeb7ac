// Modules and updates against formulas: a generator g z and a critic c x with one weight each, so
// that the critic's loss is c (g z - x) and the generator's is - c g z, in means.

#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/interpret.h"
#include "ir/verify.h"

namespace gradus::frontend {
namespace {

using Tensors = std::map<std::string, Tensor>;

constexpr double kRate = 0.1;

/// The losses that `updates` name, and `losses`.
std::string file_with(const std::string& updates, const std::string& layers = "",
                      const std::string& losses = "") {
  std::string all;
  if (updates.find("critic_loss") != std::string::npos) {
    all += R"("critic_loss": [{"function": "mean", "values": "low"},
                              {"function": "mean", "values": "high/c", "weight": -1}],)";
  }
  if (updates.find("generator_loss") != std::string::npos) {
    all += R"("generator_loss": {"function": "mean", "values": "low", "weight": -1},)";
  }
  all += losses;
  if (all.ends_with(',')) all.pop_back();
  return R"({"gradus": 1, "data": {"source": "ring"},
  "model": {
    "inputs": {"z": "f32[1]", "x": "f32[1]"},
    "modules": {
      "generator": {"layers": [{"layer": "dense", "units": 1, "use_bias": false, "name": "g"}]},
      "critic": {"layers": [{"layer": "dense", "units": 1, "use_bias": false, "name": "c"}]}},
    "layers": [
      {"module": "generator", "from": "z", "name": "fake"},
      {"module": "critic", "name": "low"},
      {"module": "critic", "from": "x", "name": "high"})" +
         layers + R"(]},
  "losses": {)" +
         all + R"(},
  "updates": [)" +
         updates + R"(], "training": {"steps": 1, "batch": 2}})";
}

std::string update(const std::string& loss, const std::string& of, const std::string& more = "") {
  return R"({"minimize": ")" + loss + R"(", "of": ")" + of +
         R"(", "optimizer": {"method": "sgd", "learning_rate": 0.1})" + more + "}";
}

Tensor column(const std::vector<double>& values) {
  Tensor tensor({ElementType::f32, {static_cast<std::int64_t>(values.size()), 1}});
  for (std::size_t i = 0; i < values.size(); ++i) {
    tensor.as<float>()[i] = static_cast<float>(values[i]);
  }
  return tensor;
}

double only(const Tensors& tensors, const std::string& name) {
  return tensors.at(name).as<float>()[0];
}

constexpr double kG = 0.5, kC = 2;
const std::vector<double> kZ{1, 3, -2, 4, 0.5, 1.5}, kX{2, 4, 1, 1, 3, -1};

double mean(const std::vector<double>& values, std::size_t first, std::size_t count) {
  double sum = 0;
  for (std::size_t i = first; i < first + count; ++i) sum += values[i];
  return sum / static_cast<double>(count);
}

ir::Interpretation step(const Model& model, std::size_t examples, const Tensors& more = {}) {
  const auto head = [&](const std::vector<double>& values) {
    return column({values.begin(), values.begin() + static_cast<std::ptrdiff_t>(examples)});
  };
  const ir::Graph graph = model.train_step(static_cast<std::int64_t>(examples));
  ir::verify(graph, "train_step");
  Tensors inputs{{"z", head(kZ)},
                 {"x", head(kX)},
                 {"generator/g/kernel", column({kG})},
                 {"critic/c/kernel", column({kC})},
                 {"seed", Tensor::scalar(ElementType::i64, std::int64_t{1})},
                 {"step", Tensor::scalar(ElementType::i64, std::int64_t{7})}};
  inputs.insert(more.begin(), more.end());
  return ir::interpret(graph, inputs);
}

TEST(Updates, EachSeesTheStateThatTheOneBeforeHasLeft) {
  const std::string critic = update("critic_loss", "critic");
  const std::string generator = update("generator_loss", "generator");
  const double z = mean(kZ, 0, 6);
  const double x = mean(kX, 0, 6);
  {
    const auto result = step(Model("file.json", file_with(critic + "," + generator)), 6);
    const double c = kC - kRate * (kG * z - x);
    EXPECT_NEAR(only(result.updates, "critic/c/kernel"), c, 1e-6);
    EXPECT_NEAR(only(result.updates, "generator/g/kernel"), kG + kRate * c * z, 1e-6);
    EXPECT_NEAR(only(result.outputs, "critic_loss"), kC * (kG * z - x), 1e-6);
    EXPECT_NEAR(only(result.outputs, "generator_loss"), -c * kG * z, 1e-6);
  }
  const auto result = step(Model("file.json", file_with(generator + "," + critic)), 6);
  const double g = kG + kRate * kC * z;
  EXPECT_NEAR(only(result.updates, "generator/g/kernel"), g, 1e-6);
  EXPECT_NEAR(only(result.updates, "critic/c/kernel"), kC - kRate * (g * z - x), 1e-6);
}

TEST(Updates, RunsTakeTheirOwnPartsOfTheBatch) {
  const Model model("file.json", file_with(update("critic_loss", "critic", R"(, "repeat": 3)") +
                                           "," + update("generator_loss", "generator")));
  EXPECT_EQ(model.step_batch(), 6);
  for (const std::size_t examples : {6u, 5u, 3u, 2u, 1u}) {
    SCOPED_TRACE(examples);
    const std::size_t part = (examples + 2) / 3;
    double c = kC;
    double last = 0;
    for (std::size_t first = 0; first < examples; first += part) {
      const std::size_t count = std::min(part, examples - first);
      const double slope = kG * mean(kZ, first, count) - mean(kX, first, count);
      last = c * slope;
      c -= kRate * slope;
    }
    const auto result = step(model, examples);
    EXPECT_NEAR(only(result.updates, "critic/c/kernel"), c, 1e-6);
    EXPECT_NEAR(only(result.outputs, "critic_loss"), last, 1e-6);
    EXPECT_NEAR(only(result.updates, "generator/g/kernel"), kG + kRate * c * mean(kZ, 0, part),
                1e-6);
  }
}

TEST(Updates, WhatNoneNamesIsFrozen) {
  const Model model("file.json", file_with(update("critic_loss", "critic")));
  const auto result = step(model, 2);
  EXPECT_FALSE(result.updates.contains("generator/g/kernel"));
  EXPECT_TRUE(result.updates.contains("critic/c/kernel"));
}

TEST(Updates, PenaltiesDoNotDependOnWhatARunEvaluates) {
  // Only the last run evaluates "apart"; every update that names it decays it.
  const std::string updates = R"({"minimize": "critic_loss", "of": ["critic", "apart"],
      "optimizer": {"method": "sgd", "learning_rate": 0.1}},)" +
                              update("generator_loss", "generator");
  const Model model("file.json", file_with(updates, R"(, {"layer": "dense", "units": 1, "from": "z",
      "use_bias": false, "l2": 0.25, "name": "apart"})"));
  const double w = 3;
  const auto result = step(model, 2, {{"apart/kernel", column({w})}});
  EXPECT_NEAR(only(result.updates, "apart/kernel"), w - kRate * 2 * 0.25 * w, 1e-6);
  const double slope = kG * mean(kZ, 0, 2) - mean(kX, 0, 2);
  EXPECT_NEAR(only(result.outputs, "critic_loss"), kC * slope + 0.25 * w * w, 1e-6);
}

TEST(Updates, ARunEvaluatesTheEmbeddingsThatItsLayersAreTiedTo) {
  const Model model("file.json", R"({"gradus": 1, "data": {"source": "text", "file": "t"},
    "model": {"inputs": {"text": "i32[4]", "x": "f32[3]"}, "layers": [
      {"layer": "embedding", "from": "text", "input_dim": 5, "output_dim": 3, "name": "table"},
      {"layer": "dense", "from": "x", "units": 5, "tied_to": "table", "use_bias": false,
       "name": "scores"}]},
    "losses": {"scores_loss": {"function": "mean", "values": "scores"},
               "table_loss": {"function": "mean", "values": "table"}},
    "updates": [{"minimize": "scores_loss", "optimizer": {"method": "sgd"}},
                {"minimize": "table_loss", "optimizer": {"method": "sgd"}}],
    "training": {"steps": 1}})");
  const ir::Graph graph = model.train_step(2);
  ir::verify(graph, "train_step");
  EXPECT_EQ(graph.results().size(), 4u);  // two losses, the table, the step
}

TEST(Updates, OptimizersCountTheirOwnRunsAndHaveTheirOwnSlots) {
  const std::string adam = R"(", "repeat": 2, "optimizer": {"method": "adam"}})";
  const Model model("file.json",
                    file_with(R"({"minimize": "critic_loss", "of": "critic)" + adam +
                                  R"(, {"minimize": "other", "of": "critic/c)" + adam,
                              "", R"("other": {"function": "mean", "values": "low"})"));
  std::vector<std::string> names;
  for (const StateSpec& entry : model.state()) {
    if (entry.kind == StateKind::slot) names.push_back(entry.name);
  }
  const std::vector<std::string> expected{"critic/c/kernel/m", "critic/c/kernel/v",
                                          "critic/c/kernel/other/m", "critic/c/kernel/other/v"};
  EXPECT_EQ(names, expected);
  ir::verify(model.init(), "init");
  ir::verify(model.train_step(4), "train_step");
}

TEST(Updates, RandomNumbersAreNewInEveryRunAndStep) {
  const auto file = [&](const std::string& repeat) {
    return file_with(update("drawn", "critic", repeat) + "," + update("drawn", "generator"),
                     R"(, {"layer": "noise", "shape": [1], "name": "noise"},
                        {"module": "critic", "from": "noise", "name": "of_noise"},
                        {"module": "generator", "from": "noise", "name": "drawing"},
                        {"layer": "add", "from": ["of_noise", "drawing"], "name": "both"})",
                     R"("drawn": {"function": "mean", "values": "both"})");
  };
  // With a slope of 1 a run takes the mean of its noise times the rate off the weight.
  const auto result = step(Model("file.json", file("")), 2);
  const double first = (kC - only(result.updates, "critic/c/kernel")) / kRate;
  const double second = (kG - only(result.updates, "generator/g/kernel")) / kRate;
  EXPECT_GT(std::abs(first - second), 1e-3);
  const auto repeated = step(Model("file.json", file(R"(, "repeat": 2)")), 4);
  const double both = (kC - only(repeated.updates, "critic/c/kernel")) / kRate;
  EXPECT_GT(std::abs(both - 2 * first), 1e-3);
}

TEST(Modules, ShareParametersAndStatistics) {
  const std::string text = R"({"gradus": 1, "data": {"source": "ring"},
    "model": {"inputs": {"x": "f32[3]", "y": "f32[3]"},
      "blocks": {"unit": {"layers": [{"layer": "dense", "units": 3},
                                     {"layer": "batch_norm", "momentum": 0.5}]}},
      "modules": {"net": {"layers": [{"block": "unit", "repeat": 2}]}},
      "layers": [{"module": "net", "from": "x", "name": "one"},
                 {"module": "net", "from": "y", "name": "two"},
                 {"module": "net", "repeat": 2, "name": "again"}]},
    "loss": {"function": "mean_squared_error", "predictions": "again", "targets": "one"},
    "optimizer": {"method": "sgd"}, "training": {"steps": 1}})";
  const Model model("file.json", text);
  std::vector<std::string> names;
  for (const ParameterSpec& parameter : model.parameters()) names.push_back(parameter.name);
  EXPECT_EQ(names.size(), 12u);
  EXPECT_EQ(names.front(), "net/unit/1/dense/kernel");
  std::int64_t counted = 0;
  for (const LayerSummary& layer : model.layers()) counted += layer.parameters;
  EXPECT_EQ(counted, 2 * (3 * 3 + 3 + 4 * 3));
  ir::verify(model.train_step(4), "train_step");
  EXPECT_EQ(Model("file.json", model.resolved()).train_step(4).hash(), model.train_step(4).hash());
}

}  // namespace
}  // namespace gradus::frontend
