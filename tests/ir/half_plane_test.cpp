// Products with a half-plane against plain loops, and what they are after differentiation.

#include "ir/half_plane.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "base/float_environment.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "tests/support/random.h"

namespace gradus::ir {
namespace {

using enum MatrixAxis;

Tensor random_matrix(Shape shape, std::uint64_t seed) {
  support::Random random(seed);
  Tensor result(TensorType{ElementType::f32, std::move(shape)});
  for (float& x : result.as<float>()) x = static_cast<float>(random.uniform(-2, 2));
  return result;
}

/// Chains of the products that count, as the words say it.
TEST(HalfPlane, LeavesOutWhatItDoesNotAdmit) {
  constexpr std::int64_t kRows = 9, kColumns = 8, kContracted = 11;
  Tensor lhs = random_matrix({kRows, kContracted}, 1);
  const Tensor rhs = random_matrix({kContracted, kColumns}, 2);
  lhs.as<float>()[10] = std::numeric_limits<float>::infinity();  // row 0, contracted 10
  const std::array<MatrixAxis, 3> axes{row, column, contracted};
  for (const MatrixAxis low : axes) {
    for (const MatrixAxis high : axes) {
      if (low == high) continue;
      for (const std::int64_t offset : {-20, -3, 0, 1, 20}) {
        Graph graph("half_plane");
        const Expr x{&graph, graph.add_input("x", InputKind::batch, lhs.type)};
        const Expr y{&graph, graph.add_input("y", InputKind::batch, rhs.type)};
        graph.add_result("z",
                         dot(x, y, {{}, {}, {1}, {0}}, {}, HalfPlane{low, high, offset}).value);
        const Graph read = parse_graph(to_text(graph));
        EXPECT_EQ(to_text(read), to_text(graph));
        const Tensor z = interpret(read, {{"x", lhs}, {"y", rhs}}).outputs.at("z");
        for (std::int64_t m = 0; m < kRows; ++m) {
          for (std::int64_t n = 0; n < kColumns; ++n) {
            float sum = 0;
            for (std::int64_t k = 0; k < kContracted; ++k) {
              const std::array<std::int64_t, 3> index{m, n, k};
              if (index[static_cast<std::size_t>(low)] >
                  index[static_cast<std::size_t>(high)] + offset) {
                continue;
              }
              sum = fused_multiply_add(
                  lhs.as<float>()[static_cast<std::size_t>(m * kContracted + k)],
                  rhs.as<float>()[static_cast<std::size_t>(k * kColumns + n)], sum);
            }
            const float found = z.as<float>()[static_cast<std::size_t>(m * kColumns + n)];
            EXPECT_TRUE(found == sum || (std::isnan(found) && std::isnan(sum)))
                << m << ' ' << n << ": " << found << ", " << sum;
          }
        }
      }
    }
  }
}

TEST(HalfPlane, NamesItsAxesAsOthersDo) {
  const HalfPlane half_plane{column, row, 3};
  EXPECT_EQ(half_plane.exchanged(), (HalfPlane{row, column, 3}));
  EXPECT_EQ(half_plane.renamed(row, contracted, column), (HalfPlane{contracted, row, 3}));
  EXPECT_TRUE(half_plane.admits(2, 5, 100));
  EXPECT_FALSE(half_plane.admits(2, 6, 0));
}

TEST(HalfPlane, IsOfMatrices) {
  Graph graph("half_plane");
  const auto input = [&](const char* name, Shape shape) {
    return Expr{&graph, graph.add_input(name, InputKind::batch, {ElementType::f32, shape})};
  };
  const Expr x = input("x", {4, 5});
  const Expr cube = input("cube", {5, 4, 3});
  const auto product = [&](Expr rhs, Integers half_plane) {
    return apply("dot", {x, rhs},
                 {{"lhs_contract", Integers{1}},
                  {"rhs_contract", Integers{0}},
                  {"half_plane", std::move(half_plane)}});
  };
  const Expr y = input("y", {5, 6});
  EXPECT_NO_THROW(product(y, {0, 1, -2}));
  EXPECT_THROW(product(cube, {0, 1, -2}), TypeError);
  EXPECT_THROW(product(y, {0, 0, 0}), TypeError);
  EXPECT_THROW(product(y, {0, 3, 0}), TypeError);
  EXPECT_THROW(product(y, {-1, 1, 0}), TypeError);
  EXPECT_THROW(product(y, {0, 1}), TypeError);
  EXPECT_THROW(product(y, {0, 1, std::numeric_limits<std::int64_t>::max()}), TypeError);
}

}  // namespace
}  // namespace gradus::ir
