// What counts nothing in a loss: neither its value nor its gradient, whatever it is.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "frontend/model.h"
#include "ir/interpret.h"

namespace gradus::frontend {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

Tensor floats(const Shape& shape, std::initializer_list<float> values) {
  Tensor tensor({ElementType::f32, shape});
  std::ranges::copy(values, tensor.as<float>().begin());
  return tensor;
}

/// Two sequences of three with targets of two classes.
const Tensor kWeights = floats({2, 3}, {1, 0, 2, 0, 0, 0.5F});
constexpr bool kCounts[] = {true, false, true, false, false, true};

/// A training step with this list of losses.
ir::Interpretation step(const std::string& loss, const Tensor& y, const Tensor& weights) {
  const std::string type = y.type.element == ElementType::i32 ? "i32[3]" : "f32[3,2]";
  const Model model("file.json", R"({"gradus": 1, "data": {"source": "linear"},
    "model": {"inputs": {"x": "f32[3,1]", "y": ")" +
                                     type + R"(", "w": "f32[3]"}, "layers": [
      {"layer": "dense", "from": "x", "units": 2, "name": "line"},
      {"layer": "activation", "function": "softmax", "name": "chances"}]},
    "loss": )" + loss + R"(,
    "optimizer": {"method": "sgd", "learning_rate": 0.5}, "training": {"epochs": 1}})");
  std::map<std::string, Tensor> inputs{{"x", floats({2, 3, 1}, {1, 2, 3, -1, -2, -3})},
                                       {"line/kernel", floats({1, 2}, {0.5, -0.25})},
                                       {"line/bias", floats({2}, {0.125, 0})},
                                       {"w", weights},
                                       {"seed", Tensor::scalar(ElementType::i64, std::int64_t{1})},
                                       {"step", Tensor::scalar(ElementType::i64, std::int64_t{0})}};
  inputs.emplace("y", y);
  return ir::interpret(model.train_step(2), inputs);
}

/// Targets that are good where they count.
Tensor targets(bool classes, bool spoilt) {
  Tensor tensor =
      classes ? Tensor({ElementType::i32, {2, 3}}) : Tensor({ElementType::f32, {2, 3, 2}});
  for (std::size_t i = 0; i < 6; ++i) {
    const bool bad = spoilt && !kCounts[i];
    if (classes) tensor.as<std::int32_t>()[i] = bad ? -7 : static_cast<std::int32_t>(i % 2);
    for (std::size_t j = 0; !classes && j < 2; ++j) {
      tensor.as<float>()[2 * i + j] = bad ? kNaN : static_cast<float>((i + j) % 2);
    }
  }
  return tensor;
}

TEST(SampleWeights, WhatCountsNothingMayBeAnything) {
  int count = 0;
  for (const ir::Loss& loss : ir::losses()) {
    if (!loss.compares) continue;
    const bool classes = loss.name == "sparse_categorical_cross_entropy";
    for (const char* prediction :
         {R"("logits": "line")", R"("probabilities": "chances")", R"("predictions": "line")"}) {
      if (loss.classifies == (std::string(prediction) == R"("predictions": "line")")) continue;
      const std::string text = R"({"function": ")" + std::string(loss.name) + "\", " + prediction +
                               (classes ? R"(, "labels": "y")" : R"(, "targets": "y")") +
                               R"(, "sample_weights": "w"})";
      SCOPED_TRACE(text);
      const ir::Interpretation good = step(text, targets(classes, false), kWeights);
      const ir::Interpretation bad = step(text, targets(classes, true), kWeights);
      EXPECT_EQ(bad.fault.kind, ir::FaultKind::none);
      EXPECT_TRUE(std::isfinite(bad.outputs.at("loss").as<float>()[0]));
      EXPECT_EQ(bad.outputs, good.outputs);
      EXPECT_EQ(bad.updates, good.updates);
      EXPECT_NE(good.updates.at("line/kernel"), floats({1, 2}, {0.5, -0.25}));
      ++count;
    }
  }
  EXPECT_EQ(count, 8);
}

TEST(SampleWeights, ATermOfWeightZeroIsNothing) {
  const std::string term = R"({"function": "mean", "values": "line"})";
  const std::string other =
      R"({"function": "mean_squared_error", "predictions": "line", "targets": "y", "weight": 0})";
  const Tensor y = targets(false, true);
  const ir::Interpretation both = step("[" + other + ", " + term + "]", y, kWeights);
  const ir::Interpretation alone = step(term, y, kWeights);
  EXPECT_EQ(both.outputs, alone.outputs);
  EXPECT_EQ(both.updates, alone.updates);
}

/// Whether a batch has a mean at all, which that of an epoch is made of.
TEST(SampleWeights, ABatchOfWhichNothingCountsSaysSo) {
  const std::string term = R"({"function": "mean", "values": "line", "sample_weights": "w"})";
  const std::string free = R"({"function": "mean", "values": "chances"})";
  const Tensor y = targets(false, false);
  const auto counts = [&](const std::string& loss, const Tensor& weights) {
    const ir::Interpretation found = step(loss, y, weights);
    const auto output = found.outputs.find("loss/counts");
    return output == found.outputs.end() ? -1.0F : output->second.as<float>()[0];
  };
  const Tensor none = floats({2, 3}, {0, 0, 0, 0, 0, 0});
  EXPECT_EQ(counts(term, kWeights), 1);
  EXPECT_EQ(counts(term, none), 0);
  EXPECT_EQ(counts("[" + term + ", " + term + "]", none), 0);
  EXPECT_EQ(counts("[" + term + ", " + free + "]", none), -1);
  EXPECT_EQ(counts(free, none), -1);
}

}  // namespace
}  // namespace gradus::frontend
