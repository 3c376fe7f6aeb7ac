#include "ir/compositions/indexing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/interpret.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <typename T>
Tensor tensor(ElementType element, Shape shape, const std::vector<T>& values) {
  Tensor result(TensorType{element, std::move(shape)});
  std::ranges::copy(values, result.as<T>().begin());
  return result;
}
Tensor floats(Shape shape, const std::vector<float>& values) {
  return tensor(ElementType::f32, std::move(shape), values);
}
Tensor integers(Shape shape, const std::vector<std::int32_t>& values) {
  return tensor(ElementType::i32, std::move(shape), values);
}

template <typename T>
std::vector<T> elements(const Tensor& x) {
  return {x.as<T>().begin(), x.as<T>().end()};
}

Interpretation value_of(Graph& graph, Expr y) {
  graph.add_result("y", y.value);
  return interpret(graph, {});
}

TEST(Indexing, GatherTakesSlicesBehindTheBatch) {
  Graph graph("gather");
  const Expr x = constant(graph, floats({2, 3, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  const Expr index = constant(graph, integers({2, 2}, {2, 0, 1, 1}));
  const Expr y = gather(x, index, 1, 1);
  EXPECT_EQ(to_string(y.type()), "f32[2,2,2]");
  EXPECT_EQ(elements<float>(value_of(graph, y).outputs.at("y")),
            (std::vector<float>{4, 5, 0, 1, 8, 9, 8, 9}));
}

TEST(Indexing, PositionsThatDoNotExistAreFaults) {
  for (const std::int32_t position : {-1, 3, std::numeric_limits<std::int32_t>::min()}) {
    for (const bool scatters : {false, true}) {
      Graph graph("fault");
      const Expr x = constant(graph, floats({3}, {1, 2, 3}));
      const Expr index = constant(graph, integers({3}, {0, position, 1}));
      const Expr y = scatters ? scatter_add(x, index, 0, 0, 3) : gather(x, index, 0);
      const Interpretation found = value_of(graph, y);
      EXPECT_EQ(found.fault.kind, FaultKind::index_out_of_range);
      EXPECT_EQ(found.fault.node, y.value.node);
      EXPECT_EQ(found.fault.element, 1);
    }
  }
}

/// In another order the great number would swallow the small ones.
TEST(Indexing, DuplicatesAddInTheOrderOfTheIndices) {
  Graph graph("scatter");
  const Expr x = constant(graph, floats({5}, {1e8F, 1, -1e8F, 1, 3}));
  const Expr index = constant(graph, integers({5}, {1, 1, 1, 1, 0}));
  EXPECT_EQ(elements<float>(value_of(graph, scatter_add(x, index, 0, 0, 3)).outputs.at("y")),
            (std::vector<float>{3, 1, 0}));
}

TEST(Indexing, CumulativeSumsAreChains) {
  struct Case {
    bool exclusive, reverse;
    std::vector<float> sums;
  };
  for (const Case& c :
       {Case{false, false, {1e8F, 1e8F, 0, 1}}, Case{true, false, {0, 1e8F, 1e8F, 0}},
        Case{false, true, {0, -1e8F, -1e8F, 1}}, Case{true, true, {-1e8F, -1e8F, 1, 0}}}) {
    Graph graph("sums");
    const Expr x = constant(graph, floats({4}, {1e8F, 1, -1e8F, 1}));
    const Expr y = cumulative_sum(x, 0, c.exclusive, c.reverse);
    EXPECT_EQ(elements<float>(value_of(graph, y).outputs.at("y")), c.sums)
        << c.exclusive << c.reverse;
  }
}

TEST(Indexing, SortIsStableAndPutsNanAtTheEnd) {
  const std::vector<float> values{2, kNan, -0.0F, 1, 0.0F, 2, kNan, -1};
  for (const bool descending : {false, true}) {
    Graph graph("sort");
    const Expr x = constant(graph, floats({8}, values));
    const std::vector<std::int32_t> expected =
        descending ? std::vector<std::int32_t>{1, 6, 0, 5, 3, 2, 4, 7}
                   : std::vector<std::int32_t>{7, 2, 4, 3, 0, 5, 1, 6};
    const Sorted sorted = sort(x, 0, descending);
    graph.add_result("values", sorted.values.value);
    const Interpretation found = value_of(graph, sorted.positions);
    EXPECT_EQ(elements<std::int32_t>(found.outputs.at("y")), expected);
    const std::vector<float> in_order = elements<float>(found.outputs.at("values"));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const float wanted = values[static_cast<std::size_t>(expected[i])];
      EXPECT_TRUE(in_order[i] == wanted || (std::isnan(in_order[i]) && std::isnan(wanted))) << i;
    }
  }
}

TEST(Indexing, TopKIsTheBeginningOfTheDescendingOrder) {
  Graph graph("top");
  const Expr x = constant(graph, integers({3, 2}, {1, 6, 5, 2, 3, 4}));
  const Sorted top = top_k(x, 0, 2);
  graph.add_result("values", top.values.value);
  const Interpretation found = value_of(graph, top.positions);
  EXPECT_EQ(elements<std::int32_t>(found.outputs.at("y")), (std::vector<std::int32_t>{1, 0, 2, 2}));
  EXPECT_EQ(elements<std::int32_t>(found.outputs.at("values")),
            (std::vector<std::int32_t>{5, 6, 3, 4}));
}

TEST(Indexing, OneHotIsZeroButAtTheIndex) {
  Graph graph("one_hot");
  const Expr index = constant(graph, integers({3}, {1, 0, 2}));
  const Interpretation found = value_of(graph, one_hot(index, 3, ElementType::f32));
  EXPECT_EQ(found.fault.kind, FaultKind::none);
  EXPECT_EQ(elements<float>(found.outputs.at("y")),
            (std::vector<float>{0, 1, 0, 1, 0, 0, 0, 0, 1}));
}

TEST(Indexing, OneHotOfAnIndexThatIsNotThereIsAFault) {
  for (ElementType element : {ElementType::i32, ElementType::i64, ElementType::u32}) {
    for (int wrong : {-1, 3}) {
      Graph graph("one_hot");
      const Expr index = cast(constant(graph, integers({3}, {1, 2, wrong})), element);
      const Interpretation found = value_of(graph, one_hot(index, 3, ElementType::f32));
      EXPECT_EQ(found.fault.kind, FaultKind::index_out_of_range) << to_string(element);
      EXPECT_EQ(found.fault.element, 2);
    }
  }
}

TEST(Indexing, TypesThatDoNotFitAreErrors) {
  Graph graph("types");
  const Expr x = full(graph, {ElementType::f32, {4, 3}}, 0);
  const Expr index = full(graph, {ElementType::i32, {4}}, 0);
  EXPECT_THROW(gather(x, x, 0), TypeError);
  EXPECT_THROW(gather(x, index, 2), TypeError);
  EXPECT_THROW(gather(x, index, 0, 1), TypeError);
  EXPECT_THROW(gather(x, full(graph, {ElementType::i32, {5}}, 0), 1, 1), TypeError);
  EXPECT_THROW(gather(full(graph, {ElementType::f32, {0, 3}}, 0), index, 0), TypeError);
  EXPECT_THROW(scatter_add(x, index, 1, 0, 5), TypeError);
  EXPECT_THROW(scatter_add(x, index, 0, 0, 0), TypeError);
  EXPECT_THROW(scatter_add(map("equal", x, x), index, 0, 0, 4), TypeError);
  EXPECT_THROW(cumulative_sum(x, 2), TypeError);
  EXPECT_THROW(arg_sort(x, -1), TypeError);
}

}  // namespace
}  // namespace gradus::ir
