// Attention and positions against plain loops in double precision.

#include "ir/compositions/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "ir/interpret.h"
#include "tests/support/random.h"

namespace gradus::ir {
namespace {

struct Sizes {
  std::int64_t batch, queries, keys, heads, groups, width, value_width;
};

Tensor random_floats(Shape shape, std::uint64_t seed) {
  support::Random random(seed);
  Tensor result(TensorType{ElementType::f32, std::move(shape)});
  for (float& x : result.as<float>()) x = static_cast<float>(random.uniform(-2, 2));
  return result;
}

double element(const Tensor& x, const std::vector<std::int64_t>& index) {
  std::int64_t position = 0;
  for (std::size_t axis = 0; axis < index.size(); ++axis) {
    position = position * x.type.shape[axis] + index[axis];
  }
  return x.as<float>()[static_cast<std::size_t>(position)];
}

bool is_there(std::int64_t batch, std::int64_t key) { return (batch + key) % 3 != 1; }

/// What query `q` of head `h` takes of feature `v` of the values.
double taken(const Sizes& s, const Tensor& query, const Tensor& key, const Tensor& value,
             const AttentionOptions& options, std::int64_t b, std::int64_t q, std::int64_t h,
             std::int64_t v) {
  const std::int64_t group = h / (s.heads / s.groups);
  double total = 0;
  double sum = 0;
  for (std::int64_t k = 0; k < s.keys; ++k) {
    if ((options.causal && k > q) || (options.keys && !is_there(b, k))) continue;
    double score = 0;
    for (std::int64_t d = 0; d < s.width; ++d) {
      score += element(query, {b, q, h, d}) * element(key, {b, k, group, d});
    }
    const double weight = std::exp(score * options.scale);
    total += weight;
    sum += weight * element(value, {b, k, group, v});
  }
  return sum / total;
}

void check(const Sizes& s, bool causal, bool masked) {
  const Tensor query = random_floats({s.batch, s.queries, s.heads, s.width}, 1);
  const Tensor key = random_floats({s.batch, s.keys, s.groups, s.width}, 2);
  const Tensor value = random_floats({s.batch, s.keys, s.groups, s.value_width}, 3);
  Graph graph("attention");
  AttentionOptions options{0.5, causal};
  if (masked) {
    Tensor there(TensorType{ElementType::boolean, {s.batch, s.keys}});
    for (std::int64_t i = 0; i < s.batch * s.keys; ++i) {
      there.as<std::uint8_t>()[static_cast<std::size_t>(i)] = is_there(i / s.keys, i % s.keys);
    }
    options.keys = constant(graph, there);
  }
  const Expr y = scaled_dot_product_attention(constant(graph, query), constant(graph, key),
                                              constant(graph, value), options);
  ASSERT_EQ(y.shape(), (Shape{s.batch, s.queries, s.heads, s.value_width}));
  graph.add_result("y", y.value);
  const Tensor found = interpret(graph, {}).outputs.at("y");
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t q = 0; q < s.queries; ++q) {
      for (std::int64_t h = 0; h < s.heads; ++h) {
        for (std::int64_t v = 0; v < s.value_width; ++v) {
          EXPECT_NEAR(element(found, {b, q, h, v}),
                      taken(s, query, key, value, options, b, q, h, v), 1e-5);
        }
      }
    }
  }
}

TEST(Attention, IsTheSoftmaxOfScoresTimesValues) {
  check({2, 3, 5, 4, 4, 3, 2}, false, false);
  check({2, 5, 5, 4, 4, 3, 3}, true, false);
  check({3, 4, 6, 2, 2, 4, 4}, false, true);
  check({3, 6, 6, 6, 2, 4, 5}, true, false);
  check({3, 4, 6, 6, 3, 4, 5}, false, true);
}

/// Neither what is masked nor, where the first keys are, what comes later.
TEST(Attention, AQueryWithoutKeysTakesNothing) {
  for (const bool causal : {false, true}) {
    Graph graph("none");
    const Expr x = constant(graph, random_floats({2, 3, 1, 2}, 4));
    Tensor there(TensorType{ElementType::boolean, {2, 3}});
    if (causal) there.as<std::uint8_t>()[2] = 1;  // the third key of the first sequence
    const AttentionOptions options{1, causal, constant(graph, there)};
    const Tensor values = random_floats({2, 3, 1, 1}, 5);
    const Expr y = scaled_dot_product_attention(x, x, constant(graph, values), options);
    graph.add_result("y", y.value);
    const Interpretation found = interpret(graph, {});
    for (std::int64_t i = 0; i < 6; ++i) {
      const float last = causal && i == 2 ? values.as<float>()[2] : 0.0F;
      EXPECT_EQ(found.outputs.at("y").as<float>()[static_cast<std::size_t>(i)], last) << i;
    }
  }
}

TEST(Attention, ShapesThatDoNotFitAreErrors) {
  Graph graph("shapes");
  const auto of = [&](Shape shape) { return full(graph, {ElementType::f32, std::move(shape)}, 0); };
  const Expr q = of({2, 3, 4, 5});
  const auto attend = [&](Expr key, Expr value) {
    return scaled_dot_product_attention(q, key, value, {});
  };
  EXPECT_THROW(attend(of({2, 3, 3, 5}), of({2, 3, 3, 5})), TypeError);
  EXPECT_THROW(attend(of({2, 3, 2, 4}), of({2, 3, 2, 5})), TypeError);
  EXPECT_THROW(attend(of({2, 3, 2, 5}), of({2, 4, 2, 5})), TypeError);
  EXPECT_THROW(attend(of({1, 3, 2, 5}), of({1, 3, 2, 5})), TypeError);
  EXPECT_THROW((void)rotation(graph, 3, 5, 100), TypeError);
}

TEST(Positions, SinesAndCosinesOfThePosition) {
  constexpr std::int64_t kPositions = 4096, kWidth = 6;
  Graph graph("positions");
  graph.add_result("y", sinusoidal_positions(graph, kPositions, kWidth, 10000).value);
  const Tensor found = interpret(graph, {}).outputs.at("y");
  for (std::int64_t p = 0; p < kPositions; ++p) {
    for (std::int64_t i = 0; i < kWidth / 2; ++i) {
      const double angle =
          static_cast<double>(p) / std::pow(10000.0, 2.0 * static_cast<double>(i) / kWidth);
      EXPECT_NEAR(element(found, {p, i}), std::sin(angle), 1e-7) << p << " " << i;
      EXPECT_NEAR(element(found, {p, i + kWidth / 2}), std::cos(angle), 1e-7) << p << " " << i;
    }
  }
}

/// Turned queries and keys know of positions what is between them.
TEST(Positions, ProductsOfTurnedVectorsDependOnTheDistance) {
  const Tensor q = random_floats({1, 1, 1, 8}, 6);
  const Tensor k = random_floats({1, 1, 1, 8}, 7);
  Graph graph("rotary");
  const Shape shape{1, 12, 1, 8};
  const auto turned = [&](const Tensor& x) {
    const Expr row = reshape(constant(graph, x), {8});
    return rotate_positions(broadcast(row, shape, {3}),
                            rotation(*row.graph, shape[1], shape[3], 100));
  };
  graph.add_result("y", dot(turned(q), turned(k), {{0, 2}, {0, 2}, {3}, {3}}).value);
  const Tensor found = interpret(graph, {}).outputs.at("y");
  for (std::int64_t i = 0; i < 10; ++i) {
    EXPECT_NEAR(element(found, {0, 0, i, i + 2}), element(found, {0, 0, 0, 2}), 1e-5);
  }
  double plain = 0;
  for (std::int64_t d = 0; d < 8; ++d) plain += element(q, {0, 0, 0, d}) * element(k, {0, 0, 0, d});
  EXPECT_NEAR(element(found, {0, 0, 5, 5}), plain, 1e-5);
  EXPECT_GT(std::abs(element(found, {0, 0, 0, 2}) - plain), 1e-3);
}

}  // namespace
}  // namespace gradus::ir
