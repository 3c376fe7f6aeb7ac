#include "passes/stored_values.h"

#include <gtest/gtest.h>

#include <array>

#include "ir/expr.h"
#include "passes/fuse.h"

namespace gradus::passes {
namespace {

using ir::Expr;

/// Parts of a concatenation are computed for every element of it: four times here.
TEST(StoredValues, GatesOfACellAreComputedOnce) {
  ir::Graph graph("gradient of a cell");
  const auto input = [&](const char* name) {
    const TensorType type{ElementType::f32, {32, 256}};
    return Expr{&graph, graph.add_input(name, ir::InputKind::batch, type)};
  };
  const Expr slope = input("slope");
  const Expr gate = ir::map("sigmoid", input("gate"));
  const Expr candidate = ir::map("tanh", input("candidate"));
  const Expr of_gate = slope * candidate * gate * (1.0 - gate);
  const Expr of_candidate = slope * gate * (1.0 - candidate * candidate);
  const Expr cheap = slope * slope;
  const std::array<Expr, 4> parts{of_gate, of_candidate, cheap, slope};
  graph.add_result("slopes", ir::concat(parts, 1).value);
  const FusionPlan plan = fuse(graph, {});
  EXPECT_TRUE(plan.roots.contains(of_gate.value.node));
  EXPECT_TRUE(plan.roots.contains(of_candidate.value.node));
  EXPECT_FALSE(plan.roots.contains(cheap.value.node));
  EXPECT_EQ(plan.groups.size(), 1U) << "and their kernel has it all";
}

}  // namespace
}  // namespace gradus::passes
