// What plans make of attention: which matrices stay in tasks, and how many kernels there are.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "attention_graph.h"
#include "codegen/compile.h"
#include "ir/compositions/attention.h"
#include "passes/differentiate.h"

namespace gradus::codegen {
namespace {

using ir::Expr;
using ir::Graph;

std::int64_t contractions(const ScheduledKernel& kernel) {
  return std::ranges::count_if(kernel.kernel.stages, [](const Stage& stage) {
    return std::holds_alternative<Contract>(stage);
  });
}

TEST(AttentionPlan, WhatAContractionMakesOfLittleStaysInTheTask) {
  const auto kernels = [](const std::function<Expr(Graph&)>& build) {
    Graph graph("products");
    graph.add_result("y", build(graph).value);
    return plan_program(graph, {}).kernels.size();
  };
  EXPECT_EQ(kernels([](Graph& g) { return attention(g, {4, 70, 16}, 65, 0.25); }), 1U);
  EXPECT_EQ(kernels([](Graph& g) { return attention(g, {4, 70, 64}, 65, 0.25); }), 2U)
      << "scores are less than queries and keys";
  EXPECT_EQ(kernels([](Graph& g) { return attention(g, {2, 70, 16}, 65, 0.25); }), 2U)
      << "too few rows";
}

/// Heads are axes of what the projections store, and of what the last one reads.
TEST(AttentionPlan, HeadsAreReadAndStoredWhereTheyAre) {
  Graph graph("attention");
  const auto input = [&](const char* name, const Shape& shape) {
    return Expr{&graph,
                graph.add_input(name, ir::InputKind::batch, TensorType{ElementType::f32, shape})};
  };
  const Expr x = input("x", {256, 64});
  const auto heads = [&](const char* weights, const char* bias) {
    const Expr y = ir::reshape(ir::matmul(x, input(weights, {64, 64})), {8, 32, 64});
    return ir::reshape(y + ir::broadcast(input(bias, {64}), {8, 32, 64}, {2}), {8, 32, 4, 16});
  };
  const Expr query = heads("wq", "bq");
  const Expr key = heads("wk", "bk");
  const Expr taken =
      ir::scaled_dot_product_attention(query, key, heads("wv", "bv"), {.causal = true});
  const Expr y = ir::matmul(ir::reshape(taken, {256, 64}), input("wo", {64, 64}));
  graph.add_result("y", y.value);
  EXPECT_EQ(plan_program(graph, {}).kernels.size(), 5U) << "four projections and the attention";

  std::vector<Expr> of;
  for (ir::NodeId id : graph.inputs()) of.push_back({&graph, {id, 0}});
  const std::vector<Expr> gradients = passes::gradients(ir::sum_all(y * y), of);
  for (std::size_t i = 0; i < of.size(); ++i) {
    graph.add_result(fmt::format("d{}", i), gradients[i].value);
  }
  for (const ScheduledKernel& kernel : plan_program(graph, {}).kernels) {
    EXPECT_TRUE(contractions(kernel) > 0 || !kernel.kernel.name.ends_with("transpose"))
        << kernel.kernel.name << " only moves";
  }
}

/// An attention with its results and the gradients of all operands.
Graph trained_attention(const Shape& queries) {
  Graph graph("attention");
  const Expr y = attention(graph, queries, queries[1], 0.25);
  std::vector<Expr> of;
  for (ir::NodeId id : graph.inputs()) of.push_back({&graph, {id, 0}});
  const std::vector<Expr> gradients = passes::gradients(ir::sum_all(y * y), of);
  for (std::size_t i = 0; i < of.size(); ++i) {
    graph.add_result(fmt::format("d{}", i), gradients[i].value);
  }
  return graph;
}

/// A product of one column whose left operand the kernel keeps itself.
TEST(AttentionPlan, GradientsOfAGradientWithASingleKeyHaveAPlan) {
  Graph graph("attention");
  const Expr y = attention(graph, {16, 65, 2}, 1, 0.25);
  std::vector<Expr> of;
  for (ir::NodeId id : graph.inputs()) of.push_back({&graph, {id, 0}});
  Expr slopes = ir::constant(graph, ElementType::f32, 0);
  for (Expr slope : passes::gradients(ir::sum_all(y * y), of)) {
    slopes = slopes + ir::sum_all(slope * slope);
  }
  const std::vector<Expr> second = passes::gradients(slopes, of);
  for (std::size_t i = 0; i < of.size(); ++i) {
    graph.add_result(fmt::format("d{}", i), second[i].value);
  }
  EXPECT_NO_THROW((void)plan_program(graph, {}));
}

TEST(AttentionPlan, ScoresOfATrainedAttentionAreNotKept) {
  const Graph graph = trained_attention({8, 128, 16});
  const Plan plan = plan_program(graph, {});
  EXPECT_EQ(contractions(plan.kernels.front()), 2) << "scores and what they weigh";
  const Plan kept = plan_program(graph, {.without = {"repeat_contractions"}});
  EXPECT_EQ(contractions(kept.kernels.front()), 1);
}

TEST(AttentionPlan, GradientsOfSmallMatricesAreOneKernel) {
  const auto most = [](const Shape& queries) {
    const Plan plan = plan_program(trained_attention(queries), {});
    std::int64_t result = 0;
    for (const ScheduledKernel& kernel : plan.kernels) {
      result = std::max(result, contractions(kernel));
      for (const codegen::Buffer& buffer : kernel.kernel.buffers) {
        const bool scores = buffer.type.shape == Shape{queries[0], queries[1], queries[1]};
        EXPECT_FALSE(scores) << kernel.kernel.name << " keeps a matrix";
      }
    }
    return result;
  };
  EXPECT_EQ(most({16, 128, 16}), 5) << "scores, and the gradients of weights and operands";
  for (const std::int64_t positions : {129, 132, 144, 160}) {
    EXPECT_EQ(most({16, positions, 16}), 4) << "keys and values have a kernel of their own";
  }
}

}  // namespace
}  // namespace gradus::codegen
