#include "ir/compositions/indexing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/reverse_mode.h"

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

/// A table of 20 rows, a matrix to multiply rows with, and indices, all of numbers without a
/// pattern.
struct Lookup {
  Graph graph{"lookup"};
  Expr table, matrix, indices;

  explicit Lookup(const Shape& places) {
    const auto numbers = [&](Shape shape) {
      Tensor result(TensorType{ElementType::f64, std::move(shape)});
      for (double& x : result.as<double>()) x = std::sin(static_cast<double>(drawn()));
      return constant(graph, std::move(result));
    };
    table = numbers({20, 24});
    matrix = numbers({24, 5});
    Tensor positions(TensorType{ElementType::i32, places});
    for (std::int32_t& x : positions.as<std::int32_t>()) x = drawn() % 20;
    indices = constant(graph, std::move(positions));
  }

  [[nodiscard]] Expr product(Expr rows) const {
    return dot(rows, matrix, {{}, {}, {rows.rank() - 1}, {0}});
  }

  /// The result, and the cotangents of table and matrix for one of `y` that is its square.
  std::vector<Tensor> evaluate(Expr y) {
    const std::vector<Seed> seeds{{y, y * y}};
    const std::vector<Expr> wanted{table, matrix};
    const auto found = cotangents(graph, seeds, wanted);
    const std::vector<Expr> values{y, *found[0], *found[1]};
    std::vector<Tensor> result;
    for (std::size_t i = 0; i < values.size(); ++i) {
      graph.add_result("y" + std::to_string(++results_), values[i].value);
    }
    const Interpretation all = interpret(graph, {});
    for (std::size_t i = values.size(); i-- > 0;) {
      result.push_back(all.outputs.at("y" + std::to_string(results_ - static_cast<int>(i))));
    }
    return result;
  }

 private:
  int drawn() {
    ++drawn_;
    return drawn_ * drawn_;
  }

  int drawn_ = 0;
  int results_ = 0;
};

void expect_near(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.type, b.type);
  for (std::size_t i = 0; i < a.as<double>().size(); ++i) {
    EXPECT_NEAR(a.as<double>()[i], b.as<double>()[i], 1e-10 * (1 + std::abs(b.as<double>()[i])));
  }
}

TEST(Indexing, FunctionsOfRowsAreTakenOfTheTable) {
  using Movement = Expr (*)(Expr);
  const Movement movements[] = {
      [](Expr x) { return x; },
      [](Expr x) { return transpose(x, {1, 0, 2}); },
      [](Expr x) { return reshape(x, {8, 5, 24}); },
      [](Expr x) { return reshape(transpose(x, {1, 0, 2}), {40, 24}); },
  };
  for (const Movement movement : movements) {
    Lookup lookup({10, 4});
    const Expr x = movement(gather(lookup.table, lookup.indices, 0));
    Shape rows;
    const Expr y = map_rows(x, [&](Expr r) {
      rows = r.shape();
      return lookup.product(r);
    });
    EXPECT_EQ(rows, (Shape{20, 24}));
    EXPECT_EQ(lookup.graph.node(y.value.node).op->name, "gather");
    const std::vector<Tensor> found = lookup.evaluate(y);
    const std::vector<Tensor> plain = lookup.evaluate(lookup.product(x));
    EXPECT_EQ(elements<double>(found[0]), elements<double>(plain[0]));
    for (std::size_t i = 1; i < found.size(); ++i) expect_near(found[i], plain[i]);
  }
}

TEST(Indexing, FaultsOfGatheredFunctionsAreThoseOfTheRows) {
  Lookup lookup({40});
  const auto from = [](std::string layer) {
    return Provenance{std::make_shared<const Origin>(Origin{{}, std::move(layer), {}}),
                      Role::forward};
  };
  const auto layer_of = [&](Expr x) {
    return lookup.graph.node(x.value.node).provenance.entries().front().origin->layer;
  };
  lookup.graph.set_provenance(from("embedding"));
  const Expr x = gather(lookup.table, lookup.indices, 0);
  lookup.graph.set_provenance(from("dense"));
  Expr product;
  const Expr y = map_rows(x, [&](Expr rows) { return product = lookup.product(rows); });
  EXPECT_EQ(layer_of(y), "embedding");
  EXPECT_EQ(layer_of(product), "dense");
  EXPECT_EQ(lookup.graph.provenance().entries().front().origin->layer, "dense");
}

TEST(Indexing, FunctionsOfOtherRowsAreTakenAsTheyAre) {
  Lookup few({39});
  Lookup many({40});
  const Expr others[] = {
      gather(few.table, few.indices, 0),                       // not twice as many
      gather(many.table, many.indices, 1),                     // columns
      transpose(gather(many.table, many.indices, 0), {1, 0}),  // rows have become columns
      reshape(gather(many.table, many.indices, 0), {80, 12}),  // halves of rows
      gather(many.table, many.indices, 0) * 2.0,               // computed
  };
  for (Expr x : others) {
    Value seen;
    (void)map_rows(x, [&](Expr rows) {
      seen = rows.value;
      return rows;
    });
    EXPECT_EQ(seen, x.value);
  }
}

}  // namespace
}  // namespace gradus::ir
