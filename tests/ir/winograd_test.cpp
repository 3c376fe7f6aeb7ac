// Convolution by tiles against the same convolution summed directly, in f64, where their roundings
// differ by less than the tolerance and anything else by more.

#include "ir/compositions/winograd.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ir/interpret.h"
#include "tests/support/random.h"

namespace gradus::ir {
namespace {

Tensor random_tensor(const TensorType& type, std::uint32_t seed) {
  support::Random random(seed);
  Tensor result(type);
  for (double& element : result.as<double>()) element = random.uniform(-1, 1);
  return result;
}

struct Case {
  Shape lhs, rhs;
  ConvolutionAxes axes;
};

Tensor convolved(const Case& c, ConvolutionAlgorithm algorithm) {
  Graph graph("convolution");
  const TensorType lhs{ElementType::f64, c.lhs};
  const TensorType rhs{ElementType::f64, c.rhs};
  const Expr x{&graph, graph.add_input("lhs", InputKind::batch, lhs)};
  const Expr w{&graph, graph.add_input("rhs", InputKind::batch, rhs)};
  ConvolutionAxes axes = c.axes;
  axes.algorithm = algorithm;
  graph.add_result("y", conv(x, w, axes).value);
  const std::map<std::string, Tensor> inputs{{"lhs", random_tensor(lhs, 1)},
                                             {"rhs", random_tensor(rhs, 2)}};
  return interpret(graph, inputs).outputs.at("y");
}

TEST(Winograd, IsTheConvolution) {
  const Case cases[] = {
      {{2, 6, 8, 3}, {3, 3, 3, 5}, {0, 3, 2, 3, -1, -1, {{1, 0, 1, 1, 1}, {2, 1, 1, 1, 1}}}},
      // Odd numbers of outputs, cropped and uneven borders.
      {{2, 7, 9, 3}, {3, 3, 3, 5}, {0, 3, 2, 3, -1, -1, {{1, 0, 1, 0, 2}, {2, 1, 1, -1, 0}}}},
      // Other orders of axes.
      {{3, 6, 2, 7}, {4, 3, 3, 3}, {2, 0, 1, 0, -1, -1, {{3, 2, 1, 1, 1}, {1, 3, 1, 2, 0}}}},
      // Three outputs, as the gradient of a kernel is.
      {{2, 8, 7, 3}, {2, 6, 7, 5}, {3, 0, 0, 3, -1, -1, {{1, 1, 1, 0, 0}, {2, 2, 1, 1, 1}}}},
      // A single output.
      {{1, 3, 3, 2}, {3, 3, 2, 70}, {0, 3, 2, 3, -1, -1, {{1, 0}, {2, 1}}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(to_string(c.lhs));
    const Tensor direct = convolved(c, ConvolutionAlgorithm::direct);
    for (const ConvolutionAlgorithm algorithm :
         {ConvolutionAlgorithm::winograd_2x2, ConvolutionAlgorithm::winograd_4x4}) {
      SCOPED_TRACE(to_string(algorithm));
      const Tensor tiled = convolved(c, algorithm);
      ASSERT_EQ(tiled.type, direct.type);
      bool other_bits = false;
      for (std::size_t i = 0; i < direct.as<double>().size(); ++i) {
        EXPECT_NEAR(tiled.as<double>()[i], direct.as<double>()[i], 1e-12) << "element " << i;
        other_bits |= tiled.as<double>()[i] != direct.as<double>()[i];
      }
      EXPECT_TRUE(other_bits) << "nothing was computed by tiles";
    }
  }
}

TEST(Winograd, NeedsThreeTapsWithoutGaps) {
  const ConvolutionAxes plain{0, 3, 2, 3, -1, -1, {{1, 0}, {2, 1}}};
  const Shape kernel{3, 3, 4, 5};
  const auto admitted = [](const ConvolutionAxes& axes, const Shape& rhs) {
    return admits(ConvolutionAlgorithm::winograd_4x4, axes, {2, 8, 8, 4}, rhs);
  };
  EXPECT_TRUE(admitted(plain, kernel));
  EXPECT_FALSE(admitted(plain, {3, 5, 4, 5}));
  for (std::int64_t SpatialAxis::* number :
       {&SpatialAxis::stride, &SpatialAxis::window_dilation, &SpatialAxis::base_dilation}) {
    ConvolutionAxes axes = plain;
    axes.spatial[1].*number = 2;
    EXPECT_FALSE(admitted(axes, kernel));
    axes.algorithm = ConvolutionAlgorithm::winograd_4x4;
    Graph graph("refused");
    const Expr x = full(graph, {ElementType::f32, {2, 8, 8, 4}}, 1);
    const Expr w = full(graph, {ElementType::f32, kernel}, 1);
    EXPECT_THROW((void)conv(x, w, axes), TypeError);
  }
}

/// Sums of one-dimensional filters, by hand: F(2, 3) of places d and taps g.
TEST(TransformTiles, MultipliesRows) {
  Graph graph("rows");
  const TensorType type{ElementType::f64, {3}};
  const Expr x{&graph, graph.add_input("x", InputKind::batch, type)};
  const Expr y = apply("transform_tiles", {x},
                       {{"axes", Integers{0}},
                        {"matrix", Integers{2, 0, 0, 1, 1, 1, 1, -1, 1, 0, 0, 0}},
                        {"divisor", std::int64_t{2}}});
  graph.add_result("y", y.value);
  Tensor given(type);
  std::ranges::copy(std::initializer_list<double>{3, 5, 10}, given.as<double>().begin());
  const Tensor found = interpret(graph, {{"x", given}}).outputs.at("y");
  const std::vector<double> values(found.as<double>().begin(), found.as<double>().end());
  EXPECT_EQ(values, (std::vector<double>{3, 9, 4, 0}));
}

}  // namespace
}  // namespace gradus::ir
