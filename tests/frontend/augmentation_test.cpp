// Cropping and flipping: every example is the part, or the mirror image, that the definition gives
// for some place, and the places are as often as they should be.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "frontend/build.h"
#include "frontend/model.h"
#include "ir/interpret.h"
#include "passes/differentiate.h"
#include "tests/frontend/run_layers.h"

namespace gradus::frontend {
namespace {

constexpr std::int64_t kExamples = 2000;

/// Every element is another number, none of them 0.
Tensor numbered(const Shape& shape) {
  Tensor tensor({ElementType::f32, shape});
  float next = 1;
  for (float& x : tensor.as<float>()) x = next++;
  return tensor;
}

std::map<std::string, Tensor> values_of(const Tensor& x, std::int64_t seed, std::int64_t step) {
  return {{"a", x},
          {"seed", Tensor::scalar(ElementType::i64, seed)},
          {"step", Tensor::scalar(ElementType::i64, step)}};
}

Tensor run_on(const std::string& layer, const Tensor& x, bool training, std::int64_t seed = 1,
              std::int64_t step = 0) {
  const Shape example(x.type.shape.begin() + 1, x.type.shape.end());
  return run_layers(R"({"name": "last", "from": "a", )" + layer + "}", values_of(x, seed, step),
                    {"f32" + to_string(example)},
                    training ? Purpose::training : Purpose::evaluation);
}

/// Element (row, column, channel) of an example, 0 around it.
float pixel(const Tensor& x, std::int64_t example, std::int64_t row, std::int64_t column,
            std::int64_t channel) {
  const Shape& shape = x.type.shape;
  if (row < 0 || row >= shape[1] || column < 0 || column >= shape[2]) return 0;
  const std::int64_t at = ((example * shape[1] + row) * shape[2] + column) * shape[3] + channel;
  return x.as<float>()[static_cast<std::size_t>(at)];
}

/// Whether example `example` of y is that of x with its corner moved to (top, left).
bool is_part(const Tensor& y, const Tensor& x, std::int64_t example, std::int64_t top,
             std::int64_t left) {
  const Shape& shape = y.type.shape;
  for (std::int64_t row = 0; row < shape[1]; ++row) {
    for (std::int64_t column = 0; column < shape[2]; ++column) {
      for (std::int64_t channel = 0; channel < shape[3]; ++channel) {
        if (pixel(y, example, row, column, channel) !=
            pixel(x, example, top + row, left + column, channel)) {
          return false;
        }
      }
    }
  }
  return true;
}

using Place = std::pair<std::int64_t, std::int64_t>;

/// The only place in these ranges from which the example is a part.
std::optional<Place> place_of(const Tensor& y, const Tensor& x, std::int64_t example, Place top,
                              Place left) {
  std::optional<Place> found;
  for (std::int64_t row = top.first; row <= top.second; ++row) {
    for (std::int64_t column = left.first; column <= left.second; ++column) {
      if (!is_part(y, x, example, row, column)) continue;
      if (found) return std::nullopt;
      found = {row, column};
    }
  }
  return found;
}

/// Expects each of `places` places about equally often: five deviations.
void expect_even(const std::map<Place, int>& counts, std::size_t places) {
  EXPECT_EQ(counts.size(), places);
  const double share = 1 / static_cast<double>(places);
  const double deviation = std::sqrt(kExamples * share * (1 - share));
  for (const auto& [place, count] : counts) {
    EXPECT_NEAR(count, kExamples * share, 5 * deviation) << place.first << " " << place.second;
  }
}

TEST(Augmentation, ACropIsAPartOfTheImageWithZerosAroundIt) {
  const Tensor x = numbered({kExamples, 5, 4, 2});
  const Tensor y = run_on(R"("layer": "random_crop", "padding": [2, 1])", x, true);
  ASSERT_EQ(y.type, x.type);
  std::map<Place, int> counts;
  for (std::int64_t i = 0; i < kExamples; ++i) {
    const std::optional<Place> place = place_of(y, x, i, {-2, 2}, {-1, 1});
    ASSERT_TRUE(place) << i;
    ++counts[*place];
  }
  expect_even(counts, 15);
}

TEST(Augmentation, ACropMayBeSmallerThanTheImage) {
  const Tensor x = numbered({kExamples, 6, 5, 1});
  const std::string layer = R"("layer": "random_crop", "size": [3, 0], "padding": [0, 1])";
  const Tensor y = run_on(layer, x, true);
  ASSERT_EQ(y.type.shape, (Shape{kExamples, 3, 5, 1}));
  std::map<Place, int> counts;
  for (std::int64_t i = 0; i < kExamples; ++i) {
    const std::optional<Place> place = place_of(y, x, i, {0, 3}, {-1, 1});
    ASSERT_TRUE(place) << i;
    ++counts[*place];
  }
  expect_even(counts, 12);
  const Tensor middle = run_on(layer, x, false);
  for (std::int64_t i = 0; i < kExamples; ++i) EXPECT_TRUE(is_part(middle, x, i, 1, 0));
}

/// What of the example is exchanged: rows, columns. No image is symmetric.
std::optional<Place> mirror_of(const Tensor& y, const Tensor& x, std::int64_t example) {
  const std::int64_t rows = x.type.shape[1], columns = x.type.shape[2];
  for (std::int64_t vertical : {0, 1}) {
    for (std::int64_t horizontal : {0, 1}) {
      bool same = true;
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          same = same && pixel(y, example, row, column, 0) ==
                             pixel(x, example, vertical ? rows - 1 - row : row,
                                   horizontal ? columns - 1 - column : column, 0);
        }
      }
      if (same) return Place{vertical, horizontal};
    }
  }
  return std::nullopt;
}

TEST(Augmentation, AFlipIsTheMirrorImageOfAboutHalf) {
  const Tensor x = numbered({kExamples, 3, 4, 1});
  const std::map<std::string, std::vector<Place>> modes{{"horizontal", {{0, 0}, {0, 1}}},
                                                        {"vertical", {{0, 0}, {1, 0}}},
                                                        {"both", {{0, 0}, {0, 1}, {1, 0}, {1, 1}}}};
  for (const auto& [mode, expected] : modes) {
    SCOPED_TRACE(mode);
    const Tensor y = run_on(R"("layer": "random_flip", "mode": ")" + mode + "\"", x, true);
    ASSERT_EQ(y.type, x.type);
    std::map<Place, int> counts;
    for (std::int64_t i = 0; i < kExamples; ++i) {
      const std::optional<Place> mirror = mirror_of(y, x, i);
      ASSERT_TRUE(mirror) << i;
      EXPECT_NE(std::ranges::find(expected, *mirror), expected.end());
      ++counts[*mirror];
    }
    expect_even(counts, expected.size());
  }
}

TEST(Augmentation, AFlipHappensAsOftenAsItIsTold) {
  const Tensor x = numbered({kExamples, 3, 4, 1});
  const auto share = [&](const std::string& probability) {
    const Tensor y = run_on(R"("layer": "random_flip", "probability": )" + probability, x, true);
    int flipped = 0;
    for (std::int64_t i = 0; i < kExamples; ++i) flipped += mirror_of(y, x, i) == Place{0, 1};
    return static_cast<double>(flipped) / static_cast<double>(kExamples);
  };
  EXPECT_EQ(share("0"), 0);
  EXPECT_EQ(share("1"), 1);
  EXPECT_NEAR(share("0.2"), 0.2, 0.045);
}

TEST(Augmentation, HappensInTrainingOnlyAndAnewInEveryStep) {
  const Tensor x = numbered({64, 6, 6, 1});
  for (const std::string layer :
       {R"("layer": "random_crop", "padding": 2)", R"("layer": "random_flip", "mode": "both")"}) {
    EXPECT_EQ(run_on(layer, x, false), x);
    const Tensor y = run_on(layer, x, true);
    EXPECT_EQ(run_on(layer, x, true), y);
    EXPECT_NE(run_on(layer, x, true, 2, 0), y);
    EXPECT_NE(run_on(layer, x, true, 1, 1), y);
  }
}

/// The gradient of half the sum of squares is the element itself, or 0 where it was cut off.
TEST(Augmentation, GradientsGoBackToWhereTheElementsWere) {
  const Tensor x = numbered({16, 4, 5, 2});
  const Model model("file.json", file_with(R"({"layer": "random_crop", "padding": 1, "from": "a",
      "name": "part"}, {"layer": "random_flip", "name": "last"})",
                                           {"f32[4,5,2]"}));
  Findings findings;
  Forward forward("test", 16, Purpose::training);
  build_forward(model.spec(), forward, every_layer(model.spec()), findings);
  const auto value = [&](const char* name) { return forward.values.at(name).value; };
  const ir::Expr a = value("a"), last = value("last");
  const ir::Expr loss = ir::sum_all(last * last) * 0.5;
  forward.graph.add_result("part", value("part").value);
  forward.graph.add_result("gradient", passes::gradients(loss, {&a, 1}).front().value);
  const auto outputs = ir::interpret(forward.graph, values_of(x, 1, 0)).outputs;
  const Tensor& gradient = outputs.at("gradient");
  for (std::int64_t i = 0; i < 16; ++i) {
    const std::optional<Place> place = place_of(outputs.at("part"), x, i, {-1, 1}, {-1, 1});
    ASSERT_TRUE(place);
    for (std::int64_t row = 0; row < 4; ++row) {
      for (std::int64_t column = 0; column < 5; ++column) {
        const std::int64_t r = row - place->first, c = column - place->second;
        const bool kept = r >= 0 && r < 4 && c >= 0 && c < 5;
        EXPECT_EQ(pixel(gradient, i, row, column, 1), kept ? pixel(x, i, row, column, 1) : 0);
      }
    }
  }
}

TEST(Augmentation, APartLargerThanTheImageIsAFinding) {
  try {
    (void)Model("file.json",
                file_with(R"({"layer": "random_crop", "size": [9, 4], "padding": 2, "from": "a",
                              "name": "last"})",
                          {"f32[4,5,2]"}));
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.diagnostics().front().code, "E0204");
    EXPECT_NE(error.diagnostics().front().message.find("takes 9 places along axis 0 with 2"),
              std::string::npos)
        << error.diagnostics().front().message;
  }
}

}  // namespace
}  // namespace gradus::frontend
