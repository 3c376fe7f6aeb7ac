// Products with a half-plane against plain loops.

#include "ir/half_plane.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
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

/// Chains of the products that count, as the words say it: `dot` of x [m, k] and y [k, n].
Tensor products_by_words(const Tensor& x, const Tensor& y, const HalfPlane& half_plane) {
  const std::int64_t rows = x.type.shape[0], columns = y.type.shape[1], length = x.type.shape[1];
  Tensor result(TensorType{ElementType::f32, {rows, columns}});
  for (std::int64_t m = 0; m < rows; ++m) {
    for (std::int64_t n = 0; n < columns; ++n) {
      float sum = 0;
      for (std::int64_t k = 0; k < length; ++k) {
        const std::array<std::int64_t, 3> index{m, n, k};
        if (index[static_cast<std::size_t>(half_plane.low)] >
            index[static_cast<std::size_t>(half_plane.high)] + half_plane.offset) {
          continue;
        }
        sum = fused_multiply_add(x.as<float>()[static_cast<std::size_t>(m * length + k)],
                                 y.as<float>()[static_cast<std::size_t>(k * columns + n)], sum);
      }
      result.as<float>()[static_cast<std::size_t>(m * columns + n)] = sum;
    }
  }
  return result;
}

/// To the bit, but where the result is so small that sums of products stand for it.
TEST(HalfPlane, LeavesOutWhatItDoesNotAdmit) {
  for (const auto& [rows, columns, length] :
       {std::array<std::int64_t, 3>{9, 8, 11}, std::array<std::int64_t, 3>{3, 4, 5}}) {
    Tensor lhs = random_matrix({rows, length}, 1);
    const Tensor rhs = random_matrix({length, columns}, 2);
    lhs.as<float>()[static_cast<std::size_t>(length - 1)] = std::numeric_limits<float>::infinity();
    for (const MatrixAxis low : {row, column, contracted}) {
      for (const MatrixAxis high : {row, column, contracted}) {
        if (low == high) continue;
        for (const std::int64_t offset : {-20, -3, 0, 1, 20}) {
          const HalfPlane half_plane{low, high, offset};
          Graph graph("half_plane");
          const Expr x{&graph, graph.add_input("x", InputKind::batch, lhs.type)};
          const Expr y{&graph, graph.add_input("y", InputKind::batch, rhs.type)};
          graph.add_result("z", dot(x, y, {{}, {}, {1}, {0}}, {}, half_plane).value);
          const Graph read = parse_graph(to_text(graph));
          EXPECT_EQ(to_text(read), to_text(graph));
          const Tensor z = interpret(read, {{"x", lhs}, {"y", rhs}}).outputs.at("z");
          const Tensor expected = products_by_words(lhs, rhs, half_plane);
          for (std::size_t i = 0; i < z.as<float>().size(); ++i) {
            const float found = z.as<float>()[i], wanted = expected.as<float>()[i];
            const bool same =
                std::bit_cast<std::uint32_t>(found) == std::bit_cast<std::uint32_t>(wanted);
            const bool near = rows * columns < 64 && std::abs(found - wanted) < 1e-5F;
            EXPECT_TRUE(same || near || (std::isnan(found) && std::isnan(wanted)))
                << i << ": " << found << ", " << wanted;
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
