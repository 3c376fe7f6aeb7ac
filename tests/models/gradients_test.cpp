// Gradients and gradients of gradients against central differences in f64: of every op, activation,
// loss and of row normalisation, by enumeration.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/compositions/activations.h"
#include "ir/compositions/losses.h"
#include "ir/expr.h"
#include "ir/op.h"
#include "ir/scan.h"
#include "ir/text.h"
#include "passes/differentiate.h"
#include "tests/models/executors.h"

namespace gradus {
namespace {

using ir::Expr;

/// A graph over random f64 inputs.
class Problem {
 public:
  ir::Graph graph{"gradient"};
  Inputs inputs;
  std::vector<Expr> variables;  // the f64 inputs

  Expr input(TensorType type, double low, double high) {
    if (type.element == ElementType::f32) type.element = ElementType::f64;
    const std::string name = "x" + std::to_string(inputs.size());
    inputs[name] = random_tensor(type, static_cast<std::uint32_t>(17 + inputs.size()), low, high);
    const Expr x{&graph, graph.add_input(name, ir::InputKind::batch, type)};
    if (type.element == ElementType::f64) variables.push_back(x);
    return x;
  }

  /// A scalar that depends on every element of every value, each with a weight of its own.
  Expr weighted(const std::vector<Expr>& values) {
    Expr sum;
    for (const Expr& value : values) {
      const Tensor weights = random_tensor(value.type(), next_weights_++, -1, 1);
      const Expr part = ir::sum_all(value * ir::constant(graph, weights));
      sum = sum.graph == nullptr ? part : sum + part;
    }
    return sum;
  }

  /// Expects the gradients of `scalar` to be its central differences.
  void check(Expr scalar) {
    const std::vector<Expr> gradients = passes::gradients(scalar, variables);
    graph.add_result("scalar", scalar.value);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      graph.add_result("d" + std::to_string(i), gradients[i].value);
    }
    const ir::Interpretation exact = ir::interpret(graph, inputs);
    for (std::size_t i = 0; i < variables.size(); ++i) {
      const std::string name =
          graph.node(variables[i].value.node).attributes.get<std::string>("name");
      const Tensor& gradient = exact.outputs.at("d" + std::to_string(i));
      for (std::size_t e = 0; e < inputs[name].as<double>().size(); ++e) {
        const double expected = difference(name, e);
        EXPECT_NEAR(gradient.as<double>()[e], expected, 1e-5 * (1 + std::abs(expected)))
            << name << " element " << e;
        if (testing::Test::HasFailure()) return;
      }
    }
  }

  /// The same for a weighted sum of the gradients of `scalar`.
  void check_second_order(Expr scalar) { check(weighted(passes::gradients(scalar, variables))); }

 private:
  double difference(const std::string& name, std::size_t element) {
    constexpr double kStep = 1e-5;
    double& x = inputs[name].as<double>()[element];
    const double middle = x;
    x = middle + kStep;
    const double above = ir::interpret(graph, inputs).outputs.at("scalar").as<double>()[0];
    x = middle - kStep;
    const double below = ir::interpret(graph, inputs).outputs.at("scalar").as<double>()[0];
    x = middle;
    return (above - below) / (2 * kStep);
  }

  std::uint32_t next_weights_ = 99;
};

/// The op of an example; a default Expr where its result or all its operands are no floats, or the
/// op changes the type.
Expr apply_example(Problem& problem, const ir::OpRecord& op, const ir::OpExample& example) {
  const bool of_f32 = std::ranges::any_of(
      example.operands, [](std::string_view operand) { return operand.starts_with("f32"); });
  // The types in a body are not the problem's.
  if (of_f32 && std::holds_alternative<ir::ScanComputation>(op.compute)) return {};
  std::vector<ir::Value> operands;
  for (std::string_view operand : example.operands) {
    operands.push_back(problem.input(*parse_tensor_type(operand), example.low, example.high).value);
  }
  if (problem.variables.empty() || op.name == "cast") return {};
  const ir::NodeId id =
      problem.graph.add(op, operands, ir::parse_attributes(op, example.attributes));
  const Expr y{&problem.graph, {id, 0}};
  return y.element() == ElementType::f64 ? y : Expr{};
}

template <typename Visit>
void for_each_example(const Visit& visit) {
  for (const ir::OpRecord& op : ir::op_records()) {
    if (!op.vjp) continue;
    for (const ir::OpExample& example : op.examples) {
      SCOPED_TRACE(std::string(op.name) + " " + std::string(example.attributes));
      visit(op, example);
    }
  }
}

TEST(Gradients, EveryOp) {
  for_each_example([](const ir::OpRecord& op, const ir::OpExample& example) {
    Problem problem;
    const Expr y = apply_example(problem, op, example);
    if (y.graph != nullptr) problem.check(problem.weighted({y}));
  });
}

TEST(Gradients, EverySmoothOpTwice) {
  int checked = 0;
  for_each_example([&](const ir::OpRecord& op, const ir::OpExample& example) {
    if (!op.smooth) return;
    Problem problem;
    const Expr y = apply_example(problem, op, example);
    if (y.graph == nullptr) return;
    // The square has second derivatives where the op is linear.
    problem.check_second_order(problem.weighted({y * y}));
    ++checked;
  });
  EXPECT_GT(checked, 20);
}

TEST(Gradients, EveryActivationOnceAndTwice) {
  for (const ir::Activation& activation : ir::activations()) {
    for (bool twice : {false, true}) {
      SCOPED_TRACE(std::string(activation.name) + (twice ? " twice" : ""));
      Problem problem;
      const Expr x = problem.input({ElementType::f64, {3, 5}}, -2, 2);
      const Expr scalar = problem.weighted({activation.build(x)});
      twice ? problem.check_second_order(scalar) : problem.check(scalar);
    }
  }
}

/// h' = tanh(x w + h u) / norm, in both directions; every result counts.
TEST(Gradients, ScanOnceAndTwice) {
  for (bool backwards : {false, true}) {
    for (bool twice : {false, true}) {
      SCOPED_TRACE(testing::Message() << (backwards ? "backwards " : "") << (twice ? "twice" : ""));
      Problem problem;
      const auto input = [&](Shape shape) {
        return problem.input({ElementType::f64, std::move(shape)}, -1, 1);
      };
      const Expr h = input({2, 3}), x = input({4, 2, 5}), w = input({5, 3}), u = input({3, 3});
      const std::vector<Expr> results =
          ir::scan(problem.graph, {{h}, {x}, {w, u}}, 4, backwards, [](const ir::ScanIteration& i) {
            const Expr z =
                ir::matmul(i.slices[0], i.invariant[0]) + ir::matmul(i.carried[0], i.invariant[1]);
            const Expr norm = ir::sum(z * z, {1}) + 1.0;
            const Expr next =
                ir::map("tanh", z) / ir::broadcast(norm, z.shape(), {0}) + i.carried[0] * 0.5;
            return ir::ScanResults{{next}, {next * next, i.carried[0]}};
          });
      const Expr scalar = problem.weighted(results);
      twice ? problem.check_second_order(scalar) : problem.check(scalar);
    }
  }
}

TEST(Gradients, NormalisationOnceAndTwice) {
  for (bool twice : {false, true}) {
    Problem problem;
    const Expr x = problem.input({ElementType::f64, {4, 6}}, -2, 2);
    const Expr scalar = problem.weighted({ir::normalize_rows(x, 1e-3)});
    twice ? problem.check_second_order(scalar) : problem.check(scalar);
  }
}

/// How far the slope of a net is from 1, as Gulrajani et al. 2017 penalise it: with respect to the
/// weights of every layer and to the point.
TEST(Gradients, ThePenaltyOfASlopeThroughAWholeNet) {
  Problem problem;
  const Expr x = problem.input({ElementType::f64, {3, 2}}, -1, 1);
  Expr y = x;
  for (const auto& [from, to] : {std::pair{2, 5}, {5, 4}, {4, 1}}) {
    const Expr w = problem.input({ElementType::f64, {from, to}}, -1, 1);
    const Expr bias = problem.input({ElementType::f64, {to}}, -1, 1);
    y = ir::matmul(y, w);
    y = y + ir::broadcast(bias, y.shape(), {1});
    if (to > 1) y = ir::map("tanh", y);
  }
  const Expr slope = passes::gradients(ir::sum_all(y), {&x, 1}).front();
  const Expr off = ir::map("sqrt", ir::sum(slope * slope, {1})) - 1.0;
  problem.check(ir::sum_all(off * off));
}

TEST(Gradients, EveryLossOnceAndTwice) {
  for (const ir::Loss& loss : ir::losses()) {
    for (ir::Prediction kind :
         {ir::Prediction::value, ir::Prediction::probability, ir::Prediction::logit}) {
      if (loss.classifies == (kind == ir::Prediction::value)) continue;
      for (bool twice : {false, true}) {
        SCOPED_TRACE(std::string(loss.name) + (twice ? " twice" : ""));
        Problem problem;
        const double low = kind == ir::Prediction::probability ? 0.1 : -2;
        const double high = kind == ir::Prediction::probability ? 0.9 : 2;
        const Expr p = problem.input({ElementType::f64, {3, 4}}, low, high);
        const bool labels = loss.name.starts_with("sparse");
        const Expr t = labels ? problem.input({ElementType::i32, {3}}, 0, 4)
                              : problem.input({ElementType::f64, {3, 4}}, 0.1, 0.9);
        problem.variables = {p};
        const Expr scalar = loss.build({p, kind, t});
        twice ? problem.check_second_order(scalar * scalar) : problem.check(scalar);
      }
    }
  }
}

}  // namespace
}  // namespace gradus
