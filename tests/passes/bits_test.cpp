// Every pass keeps every bit of every result, on random graphs and on random values: ordinary ones,
// NaN, infinities, signed zeros, subnormals.

#include <gtest/gtest.h>

#include <cstdlib>

#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/order.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "passes/roots.h"
#include "tests/support/random_graph.h"

namespace gradus::passes {
namespace {

/// GRADUS_SEEDS times as many seeds as `count`.
std::uint64_t seeds(std::uint64_t count) {
  const char* factor = std::getenv("GRADUS_SEEDS");
  return factor ? count * std::strtoull(factor, nullptr, 10) : count;
}

using Results = std::map<std::string, Tensor>;

void expect_equal(const Results& expected, const Results& found, const std::string& what) {
  ASSERT_EQ(expected.size(), found.size()) << what;
  for (const auto& [name, value] : expected) {
    EXPECT_TRUE(support::equal_bits(value, found.at(name))) << what << " changes " << name;
  }
}

/// Runs the pipeline and compares with the graph itself after each pass.
void expect_bits_kept(const ir::Graph& graph, std::uint64_t seed) {
  const auto values =
      seed % 3 == 0 ? support::InputValues::ordinary : support::InputValues::special;
  const auto inputs = support::random_inputs(graph, seed, values);
  const ir::Interpretation expected = ir::interpret(graph, inputs);
  PipelineOptions options;
  options.after = [&](const PassReport& report, const ir::Graph& after) {
    if (!report.changed || testing::Test::HasFailure()) return;
    const ir::Interpretation found = ir::interpret(after, inputs);
    expect_equal(expected.outputs, found.outputs, std::string(report.name));
    expect_equal(expected.updates, found.updates, std::string(report.name));
  };
  (void)run_pipeline(graph, options);
}

TEST(PassBits, RandomGraphs) {
  for (std::uint64_t seed = 0; seed < seeds(300); ++seed) {
    SCOPED_TRACE("random_graph(" + std::to_string(seed) + ")");
    const ir::Graph graph = support::random_graph(seed);
    expect_bits_kept(graph, seed);
    if (HasFailure()) FAIL() << to_text(graph);
  }
}

TEST(PassBits, RandomTrainingGraphs) {
  for (std::uint64_t seed = 0; seed < seeds(15); ++seed) {
    SCOPED_TRACE("random_training_graph(" + std::to_string(seed) + ")");
    expect_bits_kept(support::random_training_graph(seed), seed);
    if (HasFailure()) return;
  }
}

/// After the pipeline, what fusion may rely on.
TEST(PassBits, TheFormThatFusionNeeds) {
  for (std::uint64_t seed = 0; seed < seeds(100); ++seed) {
    SCOPED_TRACE("random_graph(" + std::to_string(seed) + ")");
    const ir::Graph graph = run_pipeline(support::random_graph(seed));
    for (ir::NodeId id = 0; id < graph.size(); ++id) {
      const ir::Node& node = graph.node(id);
      const auto operands = graph.operands(id);
      EXPECT_NE(node.op, &ir::op("stop_gradient"));
      if (std::holds_alternative<ir::ContractionComputation>(node.op->compute)) {
        const auto count = [&](std::string_view list) {
          return node.attributes.get<ir::Integers>(list).size();
        };
        EXPECT_TRUE(is_float(node.types[0].element));
        // One axis per role, or windows or tiles in lhs: rhs's free axes are one.
        EXPECT_EQ(graph.type(operands[1]).shape.size(),
                  count("rhs_batch") + count("rhs_contract") + 1);
        const OperandRead lhs = operand_read(graph, operands[0].node);
        if (lhs.permuted() && !is_tile_op(graph, lhs.node)) {
          EXPECT_LE(count("lhs_batch"), 1u);
          EXPECT_EQ(count("lhs_contract"), 1u);
          EXPECT_EQ(graph.type(operands[0]).shape.size(), count("lhs_batch") + 2);
        }
      }
      EXPECT_FALSE(std::holds_alternative<ir::ConvolutionComputation>(node.op->compute));
      const auto* reduction = std::get_if<ir::ReductionComputation>(&node.op->compute);
      if (reduction != nullptr && reduction->kind == ir::ReductionKind::sum) {
        const auto& axes = node.attributes.get<ir::Integers>("axes");
        EXPECT_EQ(ir::sum_order(graph.type(operands[0]).shape, axes).blocks.count, 1);
      }
    }
    if (HasFailure()) FAIL() << to_text(graph);
  }
}

}  // namespace
}  // namespace gradus::passes
