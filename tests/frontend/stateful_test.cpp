// State that recurrent layers carry from batch to batch: two batches are the halves of longer
// sequences.

#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/interpret.h"
#include "tests/support/random.h"

namespace gradus::frontend {
namespace {

using Values = std::map<std::string, Tensor>;

constexpr std::int64_t kBatch = 4;
constexpr std::int64_t kFeatures = 3;
// So many results of every contraction that it is a chain whatever the length.
constexpr std::int64_t kUnits = 32;

std::string model_of(const std::string& layer, std::int64_t length, bool stateful) {
  const std::string shape = "\"f32[" + std::to_string(length) + ",3]\"";
  return R"({"gradus": 1, "data": {"source": "tensors", "file": "none", "shuffle": false},
    "model": {"inputs": {"x": )" +
         shape + R"(, "t": "f32[)" + std::to_string(length) + R"(,32]"}, "layers": [{"layer": )" +
         layer + R"(, "from": "x", "units": 32, "return_sequences": true, "name": "memory",
         "stateful": )" +
         (stateful ? "true" : "false") +
         R"(}]}, "loss": {"function": "mean_squared_error", "predictions": "memory", "targets": "t"},
    "optimizer": {"method": "sgd"}, "training": {"epochs": 1, "batch": 4}})";
}

Tensor numbers(const Shape& shape, std::uint64_t seed) {
  support::Random random(seed);
  Tensor result({ElementType::f32, shape});
  for (float& x : result.as<float>()) x = static_cast<float>(random.uniform(-1, 1));
  return result;
}

/// Parameters at random, the state of `model` that is carried at 0.
Values state_of(const Model& model) {
  Values values;
  for (const StateSpec& entry : model.state()) {
    const bool zero = entry.kind == StateKind::carried || entry.kind == StateKind::counter;
    values.emplace(entry.name, zero ? Tensor(entry.type) : numbers(entry.type.shape, 3));
  }
  return values;
}

/// Positions `first` to `last` of x, [batch, positions, width].
Tensor positions(const Tensor& x, std::int64_t first, std::int64_t last) {
  const std::int64_t length = x.type.shape[1];
  const std::int64_t width = x.type.shape[2];
  Tensor result({ElementType::f32, {x.type.shape[0], last - first, width}});
  auto to = result.as<float>().begin();
  for (std::int64_t b = 0; b < x.type.shape[0]; ++b) {
    const auto from = x.as<float>().begin() + (b * length + first) * width;
    to = std::copy(from, from + (last - first) * width, to);
  }
  return result;
}

class Stateful : public testing::TestWithParam<const char*> {};

TEST_P(Stateful, ABatchGoesOnWhereTheOneBeforeEnded) {
  const Model whole("file.json", model_of(GetParam(), 6, false));
  const Model half("file.json", model_of(GetParam(), 3, true));
  const Tensor x = numbers({kBatch, 6, kFeatures}, 5);
  Values inputs = state_of(whole);
  inputs.emplace("x", x);
  const Tensor expected = ir::interpret(whole.predict(kBatch), inputs).outputs.at("memory");
  Values state = state_of(half);
  for (const std::int64_t first : {0, 3}) {
    state.insert_or_assign("x", positions(x, first, first + 3));
    const ir::Interpretation result = ir::interpret(half.predict(kBatch), state);
    EXPECT_EQ(result.outputs.at("memory").bytes, positions(expected, first, first + 3).bytes);
    for (const auto& [name, value] : result.updates) state.insert_or_assign(name, value);
  }
}

/// Training carries the same state, and its gradient takes what was carried as it is.
TEST_P(Stateful, TrainingStepsCarryStateToo) {
  const Model model("file.json", model_of(GetParam(), 3, true));
  Values inputs = state_of(model);
  for (auto& [name, value] : inputs) {
    if (name == "memory/hidden" || name == "memory/cell") value = numbers(value.type.shape, 8);
  }
  inputs.emplace("x", numbers({kBatch, 3, kFeatures}, 5));
  inputs.emplace("t", numbers({kBatch, 3, kUnits}, 6));
  const ir::Interpretation trained = ir::interpret(model.train_step(kBatch), inputs);
  const ir::Interpretation predicted = ir::interpret(model.predict(kBatch), inputs);
  ASSERT_FALSE(predicted.updates.empty());
  for (const auto& [name, value] : predicted.updates) {
    EXPECT_EQ(trained.updates.at(name).bytes, value.bytes) << name;
  }
  // The rate is 0.01: a step along one number of the bias, by the change of the loss.
  const std::size_t at = 5;
  const auto loss_with = [&](float change) {
    Values changed = inputs;
    changed.at("memory/bias").as<float>()[at] += change;
    return double{ir::interpret(model.losses(kBatch), changed).outputs.at("loss").as<float>()[0]};
  };
  const double slope = (loss_with(0.05F) - loss_with(-0.05F)) / 0.1;
  const double step = double{trained.updates.at("memory/bias").as<float>()[at]} -
                      double{inputs.at("memory/bias").as<float>()[at]};
  EXPECT_NEAR(step, -0.01 * slope, 1e-6 + 0.02 * std::abs(0.01 * slope));
}

/// The last batch of an epoch may be smaller: the state of the other examples stays.
TEST_P(Stateful, ASmallerBatchLeavesTheRest) {
  const Model model("file.json", model_of(GetParam(), 3, true));
  Values inputs = state_of(model);
  inputs.at("memory/hidden") = numbers({kBatch, kUnits}, 8);
  inputs.emplace("x", numbers({3, 3, kFeatures}, 5));
  const Tensor after = ir::interpret(model.predict(3), inputs).updates.at("memory/hidden");
  const Tensor& before = inputs.at("memory/hidden");
  ASSERT_EQ(after.type, before.type);
  for (std::size_t i = 0; i < kBatch * kUnits; ++i) {
    const bool same = after.as<float>()[i] == before.as<float>()[i];
    EXPECT_EQ(same, i >= 3 * kUnits) << i;
  }
  EXPECT_THROW((void)model.predict(kBatch + 1), UserError);
}

INSTANTIATE_TEST_SUITE_P(Layers, Stateful,
                         testing::Values(R"("simple_rnn")", R"("lstm")", R"("gru")"));

TEST(StatefulLayers, BothDirectionsAreAnError) {
  std::string text = model_of("\"gru\"", 3, true);
  text.insert(text.find("\"units\""), "\"direction\": \"both\", ");
  try {
    const Model model("file.json", text);
    ADD_FAILURE() << "no error";
  } catch (const UserError& error) {
    EXPECT_EQ(error.diagnostics().front().message,
              "gru 'memory' is stateful, which needs \"direction\": \"forward\"");
  }
}

}  // namespace
}  // namespace gradus::frontend
