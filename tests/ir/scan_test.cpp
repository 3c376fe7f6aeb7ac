// A scan is its unrolled graph, bit for bit, and so are its gradients; the unroller here knows
// nothing of how scans are built, moved or differentiated.

#include "ir/scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "ir/half_plane.h"
#include "ir/hoist.h"
#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/reverse_mode.h"
#include "ir/rewrite.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tests/support/random.h"
#include "tests/support/unroll.h"

namespace gradus::ir {
namespace {

using Inputs = std::map<std::string, Tensor>;

Inputs random_inputs(const Graph& graph, std::uint64_t seed) {
  support::Random random(seed);
  Inputs inputs;
  for (NodeId id : graph.inputs()) {
    Tensor tensor(graph.node(id).types[0]);
    dispatch(tensor.type.element, [&](auto zero) {
      for (auto& x : tensor.as<decltype(zero)>()) {
        x = static_cast<decltype(zero)>(static_cast<double>(random.between(-800, 800)) / 500);
      }
    });
    inputs[graph.node(id).attributes.get<std::string>("name")] = tensor;
  }
  return inputs;
}

void expect_equal(const Graph& a, const Graph& b, const Inputs& inputs) {
  const Interpretation x = interpret(a, inputs);
  const Interpretation y = interpret(b, inputs);
  ASSERT_EQ(x.outputs.size(), y.outputs.size());
  for (const auto& [name, value] : x.outputs) EXPECT_EQ(value, y.outputs.at(name)) << name;
}

constexpr std::int64_t kLength = 6, kBatch = 9, kUnits = 12;

/// h' = tanh(x w + h u), with all h as outputs; `slices` of x are contracted in the loop.
std::vector<Expr> recurrent(Graph& graph, bool backwards) {
  const auto input = [&](const std::string& name, Shape shape) {
    return Expr{&graph, graph.add_input(name, InputKind::batch, {ElementType::f32, shape})};
  };
  const ScanOperands operands{{input("h", {kBatch, kUnits})},
                              {input("x", {kLength, kBatch, 5})},
                              {input("w", {5, kUnits}), input("u", {kUnits, kUnits})}};
  return scan(graph, operands, kLength, backwards, [](const ScanIteration& i) {
    const Expr h =
        map("tanh", matmul(i.slices[0], i.invariant[0]) + matmul(i.carried[0], i.invariant[1]));
    return ScanResults{{h}, {h}};
  });
}

std::size_t count(const Graph& graph, std::string_view op) {
  std::size_t found = 0;
  const std::vector<bool> live = graph.live();
  for (NodeId id = 0; id < graph.size(); ++id) found += live[id] && graph.node(id).op->name == op;
  return found;
}

TEST(Scan, IsItsUnrolledGraph) {
  for (bool backwards : {false, true}) {
    Graph graph("net");
    const std::vector<Expr> results = recurrent(graph, backwards);
    ASSERT_EQ(results.size(), 2u);
    EXPECT_EQ(results[1].shape(), (Shape{kLength, kBatch, kUnits}));
    graph.add_result("last", results[0].value);
    graph.add_result("all", results[1].value);
    verify(graph, "test");
    const Graph unrolled = support::unroll(graph);
    EXPECT_EQ(count(unrolled, "scan"), 0u);
    expect_equal(graph, unrolled, random_inputs(graph, 1));
  }
}

/// Against plain loops over numbers, which know nothing of graphs.
TEST(Scan, ComputesARecurrence) {
  for (bool backwards : {false, true}) {
    Graph graph("sums");
    const Expr x{&graph, graph.add_input("x", InputKind::batch, {ElementType::f64, {4, 2}})};
    const Expr start{&graph, graph.add_input("s", InputKind::batch, {ElementType::f64, {2}})};
    const std::vector<Expr> results =
        scan(graph, {{start}, {x}, {}}, 4, backwards, [](const ScanIteration& i) {
          const Expr s = i.carried[0] * 0.5 + i.slices[0] * cast(i.position, ElementType::f64);
          return ScanResults{{s}, {i.carried[0]}};
        });
    graph.add_result("last", results[0].value);
    graph.add_result("before", results[1].value);
    const Inputs inputs = random_inputs(graph, 3);
    const Interpretation found = interpret(graph, inputs);
    for (std::size_t e = 0; e < 2; ++e) {
      double s = inputs.at("s").as<double>()[e];
      for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t t = backwards ? 3 - i : i;
        EXPECT_EQ(found.outputs.at("before").as<double>()[t * 2 + e], s);
        s = s * 0.5 + inputs.at("x").as<double>()[t * 2 + e] * static_cast<double>(t);
      }
      EXPECT_EQ(found.outputs.at("last").as<double>()[e], s);
    }
  }
}

TEST(Scan, ContractsAllSlicesBeforeTheLoop) {
  Graph graph("net");
  const std::vector<Expr> results = recurrent(graph, false);
  graph.add_result("all", results[1].value);
  EXPECT_EQ(count(graph, "dot"), 1u);
  const Node& scan = graph.node(results[0].value.node);
  EXPECT_EQ(count(*scan.attributes.get<GraphPointer>("body"), "dot"), 1u) << to_text(graph);
}

/// A loop, as it is written down, with values of every kind: the same in every iteration, of
/// slices, of the position, of numbers drawn for it, and of what is carried.
Scan every_dependence(Graph& graph) {
  const TensorType matrix{ElementType::f32, {8, 8}}, number{ElementType::i64, {}};
  const auto outer = [&](const std::string& name, Shape shape) {
    return Expr{&graph, graph.add_input(name, InputKind::batch, {ElementType::f32, shape})};
  };
  const Expr one = constant(graph, Tensor::scalar(ElementType::i64, std::int64_t{1}));
  Scan loop{Graph("body"),
            {outer("a", {8, 8}), outer("b", {8, 8})},
            {outer("x", {kLength, 8, 8})},
            {outer("w", {8, 8}), one},
            kLength};
  const auto input = [&](const std::string& name, InputKind kind, const TensorType& type) {
    return Expr{&loop.body, loop.body.add_input(name, kind, type)};
  };
  const Expr a = input("a", InputKind::state, matrix), b = input("b", InputKind::state, matrix);
  const Expr x = input("x", InputKind::batch, matrix), w = input("w", InputKind::state, matrix);
  const Expr seed = input("seed", InputKind::state, number);
  const Expr t = input("t", InputKind::scalar, number);
  const Expr drawn = apply("random_uniform", {seed, seed, t},
                           {{"shape", matrix.shape}, {"stream", std::int64_t{3}}});
  const auto output = [&](const std::string& name, Expr y) { loop.body.add_result(name, y.value); };
  output("the same", map("exp", w));
  output("the same product", matmul(map("exp", w), w));
  output("a product of slices", matmul(x, w));
  output("sums of slices", sum(x * w, {1}));
  output("of the position", w * cast(t, ElementType::f32));
  output("drawn", drawn);
  output("of drawn numbers", reduce("reduce_min", drawn * w, {0}));
  output("a product of a", matmul(a, w));
  output("sums of b", sum(b * w, {1}));
  output("of both", reduce("reduce_max", select(map("less", a, drawn), w, b), {0}));
  loop.body.add_update("a", map("tanh", b + x).value);
  loop.body.add_update("b", (a * 0.5 + w).value);
  return loop;
}

/// What is the same goes before the loop, and so do products and sums of slices; nothing else does,
/// and no value changes.
TEST(Scan, MovesNothingThatDependsOnTheIteration) {
  Graph plain("net"), moved("net");
  const std::vector<Expr> expected = add_scan(plain, every_dependence(plain));
  Scan loop = hoisted(moved, every_dependence(moved));
  const auto inside = [&](std::string_view op) { return count(loop.body, op); };
  EXPECT_EQ(inside("exp"), 0u);
  EXPECT_EQ(inside("dot"), 1u);
  EXPECT_EQ(inside("sum"), 1u);
  EXPECT_EQ(inside("reduce_max"), 1u);
  EXPECT_EQ(inside("random_uniform"), 1u);
  EXPECT_EQ(inside("tanh"), 1u);
  const std::vector<Expr> found = add_scan(moved, std::move(loop));
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    plain.add_result("y" + std::to_string(i), expected[i].value);
    moved.add_result("y" + std::to_string(i), found[i].value);
  }
  EXPECT_EQ(count(moved, "exp"), 1u);
  EXPECT_EQ(count(moved, "dot"), 2u);
  EXPECT_EQ(count(moved, "sum"), 1u);
  expect_equal(support::unroll(plain), moved, random_inputs(plain, 4));
}

/// A loop, as it is written down, whose products count what a border admits: of a slice with what
/// is the same, the other way round, of two slices, and of what is carried.
Scan products_with_borders(Graph& graph) {
  using enum MatrixAxis;
  const auto outer = [&](const std::string& name, Shape shape) {
    return Expr{&graph, graph.add_input(name, InputKind::batch, {ElementType::f64, shape})};
  };
  Scan loop{Graph("body"),
            {outer("h", {2, 9, 7})},
            {outer("x", {kLength, 2, 9, 7}), outer("y", {kLength, 7, 2, 11})},
            {outer("w", {7, 2, 11})},
            kLength};
  const auto input = [&](const std::string& name, InputKind kind, Shape shape) {
    return Expr{&loop.body, loop.body.add_input(name, kind, {ElementType::f64, std::move(shape)})};
  };
  const Expr h = input("h", InputKind::state, {2, 9, 7});
  const Expr x = input("x", InputKind::batch, {2, 9, 7});
  const Expr y = input("y", InputKind::batch, {7, 2, 11});
  const Expr w = input("w", InputKind::state, {7, 2, 11});
  const auto product = [&](const std::string& name, Expr a, Expr b, const HalfPlane& admitted) {
    const Expr z = dot(a, b, {{0}, {1}, {2}, {0}}, {}, admitted);
    loop.body.add_result(name, z.value);
    return z;
  };
  product("of a slice and w", x, w, {column, row, 1});
  product("of h and a slice", h, y, {contracted, row, 2});
  product("of a slice and the first w", x, w, {row, contracted, -1});
  const DotAxes turned{{1}, {0}, {0}, {2}};
  loop.body.add_result("of w and a slice", dot(w, x, turned, {}, HalfPlane{row, column, 2}).value);
  product("of slices", x, y, {contracted, column, -2});
  const Expr next = dot(h, dot(h, h, {{0}, {0}, {1}, {1}}, {}, HalfPlane{row, column, 0}),
                        {{0}, {0}, {2}, {1}}, {}, HalfPlane{contracted, row, 1});
  loop.body.add_update("h", map("tanh", next).value);
  return loop;
}

/// Each becomes one for every slice of the stacks, with its border at the same place.
TEST(Scan, ProductsWithBordersLeaveTheLoop) {
  Graph plain("net"), moved("net");
  const std::vector<Expr> expected = add_scan(plain, products_with_borders(plain));
  Scan loop = hoisted(moved, products_with_borders(moved));
  EXPECT_EQ(count(loop.body, "dot"), 3u);  // those of h
  const std::vector<Expr> found = add_scan(moved, std::move(loop));
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    plain.add_result("y" + std::to_string(i), expected[i].value);
    moved.add_result("y" + std::to_string(i), found[i].value);
  }
  EXPECT_EQ(count(moved, "dot"), 4u);
  expect_equal(support::unroll(plain), moved, random_inputs(plain, 5));
}

/// The gradient for what is the same in all iterations is a sum of products with the border, of the
/// whole stacks; that of the unrolled graph adds them one by one.
TEST(Scan, GradientsOfProductsWithBordersAreSumsOverTheStacks) {
  Graph graph("net");
  const auto input = [&](const std::string& name, Shape shape) {
    return Expr{&graph, graph.add_input(name, InputKind::batch, {ElementType::f64, shape})};
  };
  const ScanOperands operands{{input("h", {9, 8})}, {}, {input("u", {8, 8})}};
  const std::vector<Expr> results =
      scan(graph, operands, kLength, false, [](const ScanIteration& i) {
        const HalfPlane admitted{MatrixAxis::contracted, MatrixAxis::column, 1};
        const Expr next = dot(i.carried[0], i.invariant[0], {{}, {}, {1}, {0}}, {}, admitted);
        return ScanResults{{map("tanh", next)}, {}};
      });
  graph.add_result("h", results[0].value);
  const auto gradient = [](const Graph& of) {
    Graph with = copy(of);
    const Expr h{&with, with.results()[0].value}, u{&with, *with.find_input("u")};
    const std::vector<Seed> seeds{{h, h}};
    with.add_result("du", cotangents(with, seeds, std::vector<Expr>{u})[0]->value);
    return with;
  };
  const Inputs inputs = random_inputs(graph, 6);
  const Tensor found = interpret(gradient(graph), inputs).outputs.at("du");
  const Tensor expected = interpret(gradient(support::unroll(graph)), inputs).outputs.at("du");
  for (std::size_t i = 0; i < 64; ++i) {
    const double wanted = expected.as<double>()[i];
    EXPECT_NEAR(found.as<double>()[i], wanted, 1e-12) << i;
    EXPECT_EQ(wanted == 0, i / 8 > i % 8 + 1) << i;
  }
}

/// The numbers of all iterations are those of one tensor.
TEST(Scan, RandomNumbersKnowTheIteration) {
  for (const Shape& shape : {Shape{}, Shape{7}, Shape{3, 5}}) {
    Graph graph("random");
    const Expr seed = constant(graph, Tensor::scalar(ElementType::i64, std::int64_t{5} << 33));
    const Expr step = constant(graph, ElementType::i64, 3);
    Shape stack = shape;
    stack.insert(stack.begin(), 6);
    const auto draw = [&](std::initializer_list<Expr> operands, const Shape& wanted) {
      return apply("random_uniform", operands, {{"shape", wanted}, {"stream", std::int64_t{9}}});
    };
    const std::vector<Expr> drawn =
        scan(graph, {{}, {}, {seed, step}}, 6, true, [&](const ScanIteration& i) {
          return ScanResults{{}, {draw({i.invariant[0], i.invariant[1], i.position}, shape)}};
        });
    graph.add_result("loop", drawn[0].value);
    graph.add_result("whole", draw({seed, step}, stack).value);
    const Interpretation found = interpret(graph, {});
    EXPECT_EQ(found.outputs.at("loop"), found.outputs.at("whole")) << to_string(shape);
  }
}

TEST(Scan, TextReadsBack) {
  Graph graph("net");
  const std::vector<Expr> results = recurrent(graph, true);
  graph.add_result("last", results[0].value);
  graph.add_result("all", results[1].value);
  const std::string text = to_text(graph);
  const Graph read = parse_graph(text);
  EXPECT_EQ(text, to_text(read));
  EXPECT_EQ(graph.hash(), read.hash());
}

TEST(Scan, EqualBodiesAreOneNode) {
  Graph graph("net");
  const std::vector<Expr> first = recurrent(graph, false);
  const std::size_t size = graph.size();
  const std::vector<Expr> second = recurrent(graph, false);
  EXPECT_EQ(first[0].value, second[0].value);
  EXPECT_EQ(graph.size(), size);
  EXPECT_NE(recurrent(graph, true)[0].value, first[0].value);
}

TEST(Scan, RefusesOperandsThatDoNotFit) {
  Graph graph("net");
  const Expr x{&graph, graph.add_input("x", InputKind::batch, {ElementType::f32, {3, 4}})};
  const auto copy = [](const ScanIteration& i) { return ScanResults{{}, {i.slices[0]}}; };
  EXPECT_THROW((void)scan(graph, {{}, {x}, {}}, 4, false, copy), TypeError);
  EXPECT_THROW((void)scan(graph, {{}, {}, {x}}, 4, false,
                          [](const ScanIteration&) { return ScanResults{}; }),
               TypeError);
}

}  // namespace
}  // namespace gradus::ir
