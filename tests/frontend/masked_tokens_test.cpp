// What masked language models are made of: masks, masked tokens, losses with weights.

#include <gtest/gtest.h>

#include <cmath>

#include "tests/frontend/run_layers.h"

namespace gradus::frontend {
namespace {

constexpr std::int32_t kMasked = 50;      // stands for a masked token
constexpr std::int32_t kVocabulary = 40;  // random tokens are below
constexpr std::size_t kCount = 200 * 100;

Tensor tokens() {
  Tensor tensor({ElementType::i32, {200, 100}});
  for (std::size_t i = 0; i < kCount; ++i) {
    tensor.as<std::int32_t>()[i] = 41 + static_cast<std::int32_t>(i % 7);
  }
  return tensor;
}

std::map<std::string, Tensor> values(std::int64_t step) {
  return {{"a", tokens()},
          {"seed", Tensor::scalar(ElementType::i64, std::int64_t{3})},
          {"step", Tensor::scalar(ElementType::i64, step)}};
}

const std::string kMask = R"({"layer": "random_mask", "rate": 0.2, "name": ")";

/// Expects `count` to be a share of `of` within five deviations.
void expect_share(std::size_t count, double share, double of) {
  EXPECT_NEAR(static_cast<double>(count), share * of, 5 * std::sqrt(share * (1 - share) * of));
}

TEST(MaskedTokens, AMaskChoosesItsShareAnewInEveryStep) {
  const auto mask = [](std::int64_t step, Purpose purpose) {
    return run_layers(kMask + R"(last", "from": "a"})", values(step), {"i32[100]"}, purpose);
  };
  const Tensor first = mask(0, Purpose::training);
  EXPECT_EQ(first.type, (TensorType{ElementType::f32, {200, 100}}));
  std::size_t ones = 0;
  for (const float x : first.as<float>()) {
    EXPECT_TRUE(x == 0 || x == 1);
    ones += x == 1 ? 1 : 0;
  }
  expect_share(ones, 0.2, kCount);
  EXPECT_EQ(mask(0, Purpose::evaluation), first);
  EXPECT_NE(mask(1, Purpose::training), first);
  EXPECT_EQ(mask(0, Purpose::prediction), Tensor({ElementType::f32, {200, 100}}));
}

TEST(MaskedTokens, ChosenTokensAreMaskedRandomOrKept) {
  const std::string layers = kMask + R"(chosen", "from": "a"}, {"layer": "mask_tokens",
      "from": ["a", "chosen"], "token": 50, "vocabulary": 40, "name": "both"})";
  const auto run = [&](const std::string& more) {
    return run_layers(layers + more, values(4), {"i32[100]"}, Purpose::training);
  };
  const Tensor result = run(R"(, {"op": "neg", "from": "both"}, {"op": "neg", "name": "last"})");
  const Tensor chosen = run(R"(, {"op": "neg", "from": "chosen"}, {"op": "neg", "name": "last"})");
  const Tensor given = tokens();
  std::size_t count = 0, masked = 0, random = 0, kept = 0;
  std::vector<std::size_t> drawn(kVocabulary);
  for (std::size_t i = 0; i < kCount; ++i) {
    const std::int32_t token = result.as<std::int32_t>()[i];
    if (chosen.as<float>()[i] == 0) {
      EXPECT_EQ(token, given.as<std::int32_t>()[i]);
      continue;
    }
    ++count;
    masked += token == kMasked ? 1 : 0;
    kept += token == given.as<std::int32_t>()[i] ? 1 : 0;
    if (token < kVocabulary) {
      ++random;
      ASSERT_GE(token, 0);
      ++drawn[static_cast<std::size_t>(token)];
    }
  }
  EXPECT_EQ(masked + random + kept, count);
  const auto all = static_cast<double>(count);
  expect_share(masked, 0.8, all);
  expect_share(random, 0.1, all);
  for (const std::size_t times : drawn) expect_share(times, 0.1 / kVocabulary, all);
}

/// Who asks for a prediction has hidden what is to be told, or nothing.
TEST(MaskedTokens, APredictionReadsWhatItIsGiven) {
  for (const Purpose purpose : {Purpose::prediction, Purpose::evaluation}) {
    const Tensor result = run_layers(kMask + R"(chosen", "from": "a"}, {"layer": "mask_tokens",
      "from": ["a", "chosen"], "token": 50, "vocabulary": 40}, {"op": "neg"},
      {"op": "neg", "name": "last"})",
                                     values(4), {"i32[100]"}, purpose);
    EXPECT_EQ(result == tokens(), purpose == Purpose::prediction);
  }
}

}  // namespace
}  // namespace gradus::frontend
