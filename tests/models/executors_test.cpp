// Every executor gives the interpreter's bits: fused and unfused kernels, every instruction set of
// this machine, one to four threads, and the kernel interpreter.

#include "tests/models/executors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ir/compositions/activations.h"
#include "ir/compositions/attention.h"
#include "ir/expr.h"
#include "ir/half_plane.h"
#include "ir/op.h"
#include "ir/text.h"
#include "passes/differentiate.h"
#include "tests/models/random_tuner.h"

namespace gradus {
namespace {

using ir::Expr;

/// Contractions run by choices at random in every machine code.
void check_choices(const ir::Graph& graph, const Inputs& inputs,
                   const ir::Interpretation& expected) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    RandomTuner tuner(seed);
    codegen::CompileOptions options;
    options.tuner = &tuner;
    if (seed % 4 == 0 && codegen::host_supports(codegen::InstructionSet::x86_64_v3)) {
      options.set = codegen::InstructionSet::x86_64_v3;
    }
    const std::string what = "choices of seed " + std::to_string(seed);
    expect_same(expected, run(graph, inputs, options, 2), what);
    if (seed == 1) expect_same(expected, interpret_kernels(graph, inputs, &tuner), what);
  }
}

/// Returns what the interpreter gives.
ir::Interpretation check_all_executors(const ir::Graph& graph, const Inputs& inputs) {
  ir::Interpretation expected = ir::interpret(graph, inputs);
  for (codegen::InstructionSet set : codegen::kInstructionSets) {
    if (!codegen::host_supports(set)) continue;
    for (bool fuse : {true, false}) {
      codegen::CompileOptions options;
      options.set = set;
      options.fuse = fuse;
      const std::string what = std::string(to_string(set)) + (fuse ? " fused" : " unfused");
      expect_same(expected, run(graph, inputs, options, 1), what);
      if (fuse && set == codegen::InstructionSet::native) {
        expect_same(expected, run(graph, inputs, options, 3), what + " 3 threads");
      }
    }
  }
  return expected;
}

TEST(Executors, EveryOpOnEveryInstructionSet) {
  for (const ir::OpRecord& op : ir::op_records()) {
    EXPECT_FALSE(op.doc.empty()) << op.name;
    ASSERT_FALSE(op.examples.empty()) << op.name << " has no example";
    for (const ir::OpExample& example : op.examples) {
      if (op.name == "input" || op.name == "constant") continue;
      SCOPED_TRACE(std::string(op.name) + " " + std::string(example.attributes));
      ir::Graph graph("example");
      std::vector<ir::Value> operands;
      Inputs inputs;
      for (std::size_t i = 0; i < example.operands.size(); ++i) {
        const TensorType type = *parse_tensor_type(example.operands[i]);
        const std::string name = "x" + std::to_string(i);
        operands.push_back(graph.add_input(name, ir::InputKind::batch, type));
        inputs[name] =
            random_tensor(type, static_cast<std::uint32_t>(i), example.low, example.high);
      }
      const ir::NodeId id = graph.add(op, operands, parse_attributes(op, example.attributes));
      graph.add_result("y", {id, 0});
      check_all_executors(graph, inputs);
      if (testing::Test::HasFailure()) return;
    }
  }
}

/// Products of such operands flush to a zero of either sign.
TEST(Executors, ContractionsOfTinyNumbers) {
  for (const ir::OpRecord& op : ir::op_records()) {
    const bool multiplies = std::holds_alternative<ir::ContractionComputation>(op.compute) ||
                            std::holds_alternative<ir::ConvolutionComputation>(op.compute);
    if (!multiplies) continue;
    for (const ir::OpExample& example : op.examples) {
      SCOPED_TRACE(std::string(op.name) + " " + std::string(example.attributes));
      ir::Graph graph("example");
      std::vector<ir::Value> operands;
      Inputs inputs;
      for (std::size_t i = 0; i < example.operands.size(); ++i) {
        const TensorType type = *parse_tensor_type(example.operands[i]);
        const double tiny = type.element == ElementType::f64 ? 2e-154 : 2e-19;
        const std::string name = "x" + std::to_string(i);
        operands.push_back(graph.add_input(name, ir::InputKind::batch, type));
        inputs[name] = random_tensor(type, static_cast<std::uint32_t>(i), -tiny, tiny);
      }
      const ir::NodeId id = graph.add(op, operands, parse_attributes(op, example.attributes));
      graph.add_result("y", {id, 0});
      check_all_executors(graph, inputs);
    }
  }
}

/// The gradient of a mean makes contractions with a number, on either side, kept or not.
TEST(Executors, ContractionsWithANumber) {
  const Shape wide{70, 130};
  for (const bool left : {true, false}) {
    for (const std::int64_t columns : {1, 40}) {
      ir::Graph graph("number");
      const Inputs inputs{{"x", random_tensor({ElementType::f32, wide}, 1, -1, 1)}};
      const Expr x{&graph, graph.add_input("x", ir::InputKind::batch, {ElementType::f32, wide})};
      const Expr number = ir::full(graph, {ElementType::f32, {70, columns}}, 0.1);
      const ir::DotAxes axes{{}, {}, {0}, {0}};
      const Expr y = left ? ir::dot(number, x, axes) : ir::dot(x, number, axes);
      graph.add_result("y", y.value);
      check_all_executors(graph, inputs);
    }
  }
}

/// Convolutions large enough for what the schedule does with them: tiles of several lines, panels,
/// parts as tasks, chunks of k; and their gradients.
TEST(Executors, LargerConvolutions) {
  struct Case {
    Shape x;
    Shape w;
    std::int64_t stride, low, high;
    ir::ConvolutionAlgorithm algorithm = ir::ConvolutionAlgorithm::direct;
  };
  using enum ir::ConvolutionAlgorithm;
  for (const Case& c :
       {Case{{3, 7, 7, 20}, {3, 3, 20, 40}, 1, 1, 1}, Case{{2, 14, 14, 9}, {3, 3, 9, 33}, 2, 1, 1},
        Case{{4, 20, 20, 16}, {3, 3, 16, 16}, 1, 1, 1},
        Case{{3, 5, 5, 70}, {1, 1, 70, 24}, 1, 0, 0}, Case{{2, 17, 17, 3}, {7, 7, 3, 18}, 2, 3, 3},
        Case{{8, 12, 12, 16}, {3, 3, 16, 20}, 1, 1, 1, winograd_2x2},
        Case{{6, 28, 28, 4}, {3, 3, 4, 16}, 1, 1, 1, winograd_4x4},
        Case{{34, 11, 11, 7}, {3, 3, 7, 12}, 1, 1, 1, winograd_4x4},
        Case{{1, 4, 5, 64}, {3, 3, 64, 64}, 1, 1, 1, winograd_4x4},
        Case{{2, 7, 9, 10}, {3, 3, 10, 16}, 1, 0, 1, winograd_4x4}}) {
    SCOPED_TRACE(to_string(c.x) + " " + to_string(c.w));
    ir::Graph graph("convolution");
    Inputs inputs{{"x", random_tensor({ElementType::f32, c.x}, 1, -1, 1)},
                  {"w", random_tensor({ElementType::f32, c.w}, 2, -1, 1)}};
    const Expr x{&graph, graph.add_input("x", ir::InputKind::batch, inputs["x"].type)};
    const Expr w{&graph, graph.add_input("w", ir::InputKind::state, inputs["w"].type)};
    const ir::SpatialAxis rows{1, 0, c.stride, c.low, c.high};
    const ir::SpatialAxis columns{2, 1, c.stride, c.low, c.high};
    const ir::ConvolutionAxes axes{0, 3, 2, 3, -1, -1, {rows, columns}, c.algorithm};
    const Expr y = ir::conv(ir::map("tanh", x), w, axes);
    const std::vector<Expr> variables{x, w};
    const std::vector<Expr> gradients = passes::gradients(ir::sum_all(y * y), variables);
    graph.add_result("y", y.value);
    graph.add_result("dx", gradients[0].value);
    graph.add_result("dw", gradients[1].value);
    const ir::Interpretation expected = check_all_executors(graph, inputs);
    check_choices(graph, inputs, expected);
    expect_same(expected, interpret_kernels(graph, inputs), "kernels");
  }
}

/// The kernel's gradient by tiles reads a state and what is made of its new value: no kernel can
/// both come before the update and after it.
TEST(Executors, GradientsOfTilesAroundAnUpdate) {
  ir::Graph graph("recurrent");
  Inputs inputs{{"h", random_tensor({ElementType::f32, {16, 18, 18, 8}}, 1, -1, 1)},
                {"w", random_tensor({ElementType::f32, {3, 3, 8, 8}}, 2, -1, 1)}};
  const Expr h{&graph, graph.add_input("h", ir::InputKind::state, inputs["h"].type)};
  const Expr w{&graph, graph.add_input("w", ir::InputKind::state, inputs["w"].type)};
  const ir::ConvolutionAxes axes{
      0, 3, 2, 3, -1, -1, {{1, 0}, {2, 1}}, ir::ConvolutionAlgorithm::winograd_4x4};
  const Expr zero = ir::constant(graph, ElementType::f32, 0);
  const Expr y = ir::pad(ir::conv(h, w, axes), zero, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 0, 0, 0});
  const Expr next = ir::map("tanh", y);
  graph.add_update("h", next.value);
  graph.add_result("dw",
                   passes::gradients(ir::sum_all(next * next), std::vector<Expr>{w})[0].value);
  check_all_executors(graph, inputs);
}

/// A state that tiles update: what they read is made of it in the same kernel or before.
TEST(Executors, StatesUpdatedByTiles) {
  const ir::Graph graph = ir::parse_graph(R"(graph "update"
%0 = state "w" : f32[4,4,70]
%1 = tanh %0
%2 = transform_tiles %1 {axes = [0,1], matrix = [1,0,-1,0,0,1,1,0,0,-1,1,0,0,1,0,-1]}
"w" <- %2
)");
  check_all_executors(graph, {{"w", random_tensor({ElementType::f32, {4, 4, 70}}, 1, -1, 1)}});
}

/// Each is made of the other: only one can be written where it was.
TEST(Executors, StatesThatTakeEachOthersPlace) {
  const ir::Graph graph = ir::parse_graph(R"(graph "swap"
%0 = state "a" : f32[40]
%1 = state "b" : f32[40]
%2 = tanh %1
%3 = exp %0
"a" <- %2
"b" <- %3
)");
  const TensorType type{ElementType::f32, {40}};
  check_all_executors(graph,
                      {{"a", random_tensor(type, 1, -1, 1)}, {"b", random_tensor(type, 2, -1, 1)}});
}

/// What a result has of a state is what was there before the step, however the state is updated:
/// by a value, by a part of the batch, by another state, whose old value is a result in two shapes.
TEST(Executors, ResultsThatAreOldValuesOfStates) {
  const ir::Graph graph = ir::parse_graph(R"(graph "old"
%0 = state "a" : f32[4,10]
%1 = state "b" : f32[4,10]
%2 = state "c" : f32[4,10]
%3 = state "d" : f32[4,10]
%4 = batch "x" : f32[4,10]
%5 = tanh %0
%6 = reshape %1 {shape = [40]}
%7 = add %1, %5
"old a" = %0
"old b" = %1
"old b in a row" = %6
"old c" = %2
"d" = %3
"sum" = %7
"a" <- %5
"b" <- %4
"c" <- %1
)");
  const TensorType type{ElementType::f32, {4, 10}};
  Inputs inputs;
  for (const char* name : {"a", "b", "c", "d", "x"}) {
    inputs[name] = random_tensor(type, static_cast<std::uint32_t>(name[0]), -1, 1);
  }
  const ir::Interpretation expected = check_all_executors(graph, inputs);
  EXPECT_EQ(expected.outputs.at("old a"), inputs["a"]);
  expect_same(expected, interpret_kernels(graph, inputs), "kernels");
  expect_same(expected, run(graph, inputs, {}, 2, true), "least memory");
}

/// Random numbers that are drawn once for all rows, in a loop over rows.
TEST(Executors, NumbersDrawnBeforeALoopThatReadsThem) {
  for (const char* rows : {"2", "4", "5"}) {
    std::string text = R"(graph "drawn"
%0 = batch "seed" : i64[]
%1 = batch "step" : i64[]
%2 = random_uniform %0, %1 {shape = [20], stream = 92} : f32[20]
%3 = batch "w" : f32[ROWS]
%4 = broadcast %3 {shape = [ROWS,20], axes = [0]}
%5 = broadcast %2 {shape = [ROWS,20], axes = [1]}
%6 = mul %4, %5
"y" = %6
)";
    for (std::size_t at = 0; (at = text.find("ROWS")) != std::string::npos;)
      text.replace(at, 4, rows);
    Inputs inputs{{"seed", Tensor::scalar(ElementType::i64, std::int64_t{5})},
                  {"step", Tensor::scalar(ElementType::i64, std::int64_t{7})}};
    inputs["w"] = random_tensor({ElementType::f32, {std::stoll(rows)}}, 1, -1, 1);
    check_all_executors(ir::parse_graph(text), inputs);
  }
}

/// What a state becomes is made of it at other places.
TEST(Executors, StatesThatAreTurnedAndMoved) {
  const ir::Graph graph = ir::parse_graph(R"(graph "turned"
%0 = state "a" : f32[37]
%1 = state "b" : f32[21,21]
%2 = reverse %0 {axes = [0]}
%3 = transpose %1 {permutation = [1,0]}
%4 = tanh %3
"a" <- %2
"b" <- %4
)");
  check_all_executors(graph, {{"a", random_tensor({ElementType::f32, {37}}, 1, -1, 1)},
                              {"b", random_tensor({ElementType::f32, {21, 21}}, 2, -1, 1)}});
}

/// A sum is in its place from the first term on, before its loop has read the old value.
TEST(Executors, AStateUpdatedByASumOfWhatReadsIt) {
  const ir::Graph graph = ir::parse_graph(R"(graph "column"
%0 = state "c" : f32[8,1]
%1 = batch "x" : f32[8,1]
%2 = state "w" : f32[1,1]
%3 = add %0, %1
%4 = dot %3, %2 {lhs_contract = [1], rhs_contract = [1]}
"y" = %3
"c" <- %4
)");
  const TensorType column{ElementType::f32, {8, 1}};
  check_all_executors(graph, {{"c", random_tensor(column, 1, -1, 1)},
                              {"x", random_tensor(column, 2, -1, 1)},
                              {"w", random_tensor({ElementType::f32, {1, 1}}, 3, -1, 1)}});
}

/// What a state becomes cannot be made again in a loop with rows and columns exchanged, once it is
/// written.
TEST(Executors, AnUpdatedStateThatIsReadTurned) {
  const ir::Graph graph = ir::parse_graph(R"(graph "turned"
%0 = state "m" : f32[9,19]
%1 = batch "g" : f32[9,19]
%2 = add %0, %1
%3 = transpose %2 {permutation = [1,0]}
%4 = batch "x" : f32[19,9]
%5 = mul %3, %4
"m" <- %2
"y" = %5
)");
  const TensorType matrix{ElementType::f32, {9, 19}};
  check_all_executors(graph, {{"m", random_tensor(matrix, 1, -1, 1)},
                              {"g", random_tensor(matrix, 2, -1, 1)},
                              {"x", random_tensor({ElementType::f32, {19, 9}}, 3, -1, 1)}});
}

/// A product reads what was summed through a transposition that another product needs in memory.
TEST(Executors, ASumThatIsReadTurnedAndIsStoredTurned) {
  const ir::Graph graph = ir::parse_graph(R"(graph "turned"
%0 = batch "x" : f32[10,6,9]
%1 = batch "w" : f32[3,51]
%2 = batch "u" : f32[20,51]
%3 = sum %0 {axes = [2]}
%4 = reshape %3 {shape = [10,2,3]}
%5 = transpose %4 {permutation = [1,0,2]}
%6 = dot %5, %1 {lhs_contract = [2], rhs_contract = [0]}
%7 = reshape %5 {shape = [20,3]}
%8 = dot %2, %7 {lhs_contract = [0], rhs_contract = [0]}
"a" = %6
"b" = %8
)");
  check_all_executors(graph, {{"x", random_tensor({ElementType::f32, {10, 6, 9}}, 1, -1, 1)},
                              {"w", random_tensor({ElementType::f32, {3, 51}}, 2, -1, 1)},
                              {"u", random_tensor({ElementType::f32, {20, 51}}, 3, -1, 1)}});
}

/// Merged contracted axes whose sums have several parts: the borders are those of slices.
TEST(Executors, LongContractionsOverSeveralAxes) {
  for (const Shape& contracted : {Shape{70, 30}, Shape{3, 1100}, Shape{2, 9, 150}}) {
    ir::Graph graph("long");
    Shape lhs{9}, rhs = contracted;
    lhs.insert(lhs.end(), contracted.begin(), contracted.end());
    rhs.push_back(20);
    ir::DotAxes axes;
    for (std::size_t i = 0; i < contracted.size(); ++i) {
      axes.lhs_contract.push_back(static_cast<std::int64_t>(i) + 1);
      axes.rhs_contract.push_back(static_cast<std::int64_t>(i));
    }
    Inputs inputs;
    std::vector<Expr> operands;
    for (const Shape& shape : {lhs, rhs}) {
      const std::string name = "x" + std::to_string(inputs.size());
      const TensorType type{ElementType::f32, shape};
      inputs[name] = random_tensor(type, 7, -1, 1);
      operands.push_back({&graph, graph.add_input(name, ir::InputKind::batch, type)});
    }
    graph.add_result("y", ir::dot(operands[0], operands[1], axes).value);
    const ir::Interpretation expected = check_all_executors(graph, inputs);
    check_choices(graph, inputs, expected);
    expect_same(expected, interpret_kernels(graph, inputs), "kernels");
  }
}

/// What a half-plane does not admit is not finite: it must not be seen, in chains of several parts
/// neither.
TEST(Executors, HalfPlanesWithoutWhatIsBehindTheirBorders) {
  struct Case {
    std::int64_t batch, rows, columns, contracted;
    ir::HalfPlane half_plane;
  };
  using enum ir::MatrixAxis;
  for (const Case& c :
       {Case{2, 45, 70, 9, {column, row, 3}}, Case{1, 33, 50, 7, {row, column, -4}},
        Case{2, 50, 33, 61, {contracted, row, 0}}, Case{1, 41, 19, 2100, {row, contracted, -1000}},
        Case{1, 9, 75, 80, {contracted, column, 2}},
        Case{2, 21, 40, 1100, {column, contracted, -7}}}) {
    const std::string what = to_string(ir::to_attribute(c.half_plane));
    SCOPED_TRACE(what);
    const std::array<std::int64_t, 3> extents{c.rows, c.columns, c.contracted};
    const auto low = static_cast<std::size_t>(c.half_plane.low);
    const auto high = static_cast<std::size_t>(c.half_plane.high);
    ir::Graph graph("half_plane");
    Inputs inputs;
    std::vector<Expr> x;
    for (const Shape& shape :
         {Shape{c.batch, c.rows, c.contracted}, Shape{c.batch, c.contracted, c.columns}}) {
      const std::string name = x.empty() ? "lhs" : "rhs";
      const TensorType type{ElementType::f32, shape};
      Tensor tensor = random_tensor(type, static_cast<std::uint32_t>(x.size()) + 5, -1, 1);
      // Lines of the lower axis that no position of the higher one, and that only some of them see.
      const bool holds_low = low == 2 || low == x.size();
      const std::int64_t axis = low == x.size() ? (x.empty() ? 1 : 2) : (x.empty() ? 2 : 1);
      std::int64_t element = 0;
      for (float& value : tensor.as<float>()) {
        const std::int64_t at = element++ / (axis == 1 ? shape[2] : 1) % shape[axis == 1 ? 1 : 2];
        const std::int64_t behind = at - c.half_plane.offset - extents[high] / 2;
        if (holds_low && (behind == 0 || behind > extents[high] / 2)) {
          value = at % 2 == 0 ? std::numeric_limits<float>::infinity()
                              : std::numeric_limits<float>::quiet_NaN();
        }
      }
      inputs[name] = tensor;
      x.push_back({&graph, graph.add_input(name, ir::InputKind::batch, type)});
    }
    graph.add_result("y", ir::dot(x[0], x[1], {{0}, {0}, {2}, {1}}, {}, c.half_plane).value);
    const ir::Interpretation expected = check_all_executors(graph, inputs);
    EXPECT_TRUE(std::ranges::any_of(expected.outputs.at("y").as<float>(), [](float value) {
      return std::isfinite(value) && value != 0;
    }));
    check_choices(graph, inputs, expected);
    expect_same(expected, interpret_kernels(graph, inputs), "kernels");
  }
}

/// Scores that are made in the kernels that read them, forward and once or twice backward: of
/// several heads with dropout, small enough for a task or not, and of more positions than one chain
/// of products has.
TEST(Executors, AttentionWhoseScoresNobodyKeeps) {
  for (const auto& [positions, heads] : {std::array{70, 16}, {256, 4}, {1030, 1}}) {
    SCOPED_TRACE(positions);
    const TensorType type{ElementType::f32, {1, positions, heads, 8}};
    ir::Graph graph("attention");
    Inputs inputs;
    std::vector<Expr> operands;
    for (const char* name : {"query", "key", "value"}) {
      inputs[name] = random_tensor(type, static_cast<std::uint32_t>(operands.size()) + 1, -1, 1);
      operands.push_back({&graph, graph.add_input(name, ir::InputKind::state, type)});
    }
    ir::AttentionOptions options{.scale = 0.5, .causal = heads > 1};
    if (heads > 1) {
      options.on_weights = [](Expr weights) {
        const Expr zero = ir::constant(*weights.graph, ElementType::i64, 0);
        const Expr keep = ir::apply(
            "random_bernoulli", {zero, zero},
            {{"shape", weights.shape()}, {"stream", std::int64_t{7}}, {"probability", 0.75}});
        return ir::select(keep, weights * (1 / 0.75), ir::full_like(weights, 0));
      };
    }
    const Expr y = ir::scaled_dot_product_attention(operands[0], operands[1], operands[2], options);
    const std::vector<Expr> gradients = passes::gradients(ir::sum_all(y * y), operands);
    graph.add_result("y", y.value);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      graph.add_result("d" + std::to_string(i), gradients[i].value);
    }
    const ir::Interpretation expected = check_all_executors(graph, inputs);
    if (heads > 1) expect_same(expected, interpret_kernels(graph, inputs), "kernels");
  }
}

/// The left operand of a contraction made by its own kernel: elementwise, of normalised rows, of
/// random numbers, and with a residual that the epilogue reads again.
TEST(Executors, PrologueOfAContraction) {
  using Make = Expr (*)(Expr x);
  const Make prologues[] = {
      [](Expr x) { return ir::gelu(x); },
      [](Expr x) { return ir::normalize_rows(x, 1e-3); },
      [](Expr x) {
        ir::Graph& graph = *x.graph;
        const Expr zero = ir::constant(graph, ElementType::i64, 0);
        const Expr keep =
            ir::apply("random_bernoulli", {zero, zero},
                      {{"shape", x.shape()}, {"stream", std::int64_t{7}}, {"probability", 0.5}});
        return ir::select(keep, x, ir::full_like(x, 0));
      },
  };
  for (const Make prologue : prologues) {
    for (const auto& [m, k, n] : {std::array{300, 37, 50}, {257, 16, 3}, {260, 40, 40}}) {
      for (bool residual : {false, true}) {
        if (residual && k != n) continue;
        SCOPED_TRACE(testing::Message() << m << " x " << k << " x " << n);
        ir::Graph graph("prologue");
        Inputs inputs;
        const auto input = [&](const std::string& name, Shape shape) {
          const TensorType type{ElementType::f32, std::move(shape)};
          inputs[name] = random_tensor(type, static_cast<std::uint32_t>(inputs.size()), -1, 1);
          return Expr{&graph, graph.add_input(name, ir::InputKind::batch, type)};
        };
        const Expr x = prologue(input("x", {m, k}));
        Expr y = ir::matmul(x, input("w", {k, n})) + ir::broadcast(input("b", {n}), {m, n}, {1});
        if (residual) y = y + x;
        graph.add_result("y", ir::softmax(y).value);
        check_all_executors(graph, inputs);
        check_choices(graph, inputs, ir::interpret(graph, inputs));
        expect_same(ir::interpret(graph, inputs), interpret_kernels(graph, inputs), "kernels");
        const codegen::Plan plan = codegen::plan_program(graph, {});
        EXPECT_EQ(plan.fusion.groups.size(), 1u) << to_string(plan.fusion, plan.graph);
      }
    }
  }
}

}  // namespace
}  // namespace gradus
