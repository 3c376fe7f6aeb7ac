#include "passes/shared_values.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ir/expr.h"
#include "passes/fuse.h"

namespace gradus::passes {
namespace {

using ir::Expr;

/// Weights that are exponentials of products, and what is like the gradient of these: products that
/// are `twice` multiplied by the same exponentials. Returns whether their kernel keeps them.
bool keeps_exponentials(bool twice) {
  ir::Graph graph("attention");
  const auto input = [&](const char* name, Shape shape) {
    const TensorType type{ElementType::f32, std::move(shape)};
    return Expr{&graph, graph.add_input(name, ir::InputKind::batch, type)};
  };
  const Shape rows{4, 128, 64};
  const Expr queries = input("queries", rows);
  const Expr keys = input("keys", rows);
  const Expr values = input("values", rows);
  const Expr others = input("others", rows);
  const Expr shares = ir::broadcast(input("shares", {4, 128}), {4, 128, 128}, {0, 1});
  const Expr exponentials = ir::map("exp", ir::dot(queries, keys, {{0}, {0}, {2}, {2}}) * 0.125);
  const Expr products = ir::dot(others, values, {{0}, {0}, {2}, {2}});
  const ir::DotAxes by_keys{{0}, {0}, {2}, {1}};
  graph.add_result("y", ir::dot(exponentials * shares, values, by_keys).value);
  graph.add_result("dy", ir::dot(twice ? products * exponentials : products, keys, by_keys).value);
  const FusionPlan plan = fuse(graph, {});
  for (const Group& group : plan.groups) {
    if (std::ranges::find(group.roots, exponentials.value.node) == group.roots.end()) continue;
    EXPECT_EQ(std::ranges::find(group.outputs, exponentials.value.node), group.outputs.end());
    return true;
  }
  return false;
}

TEST(SharedValues, OfAnEpilogueAndALaterLoopAreKept) {
  EXPECT_TRUE(keeps_exponentials(true));
  EXPECT_FALSE(keeps_exponentials(false));
}

}  // namespace
}  // namespace gradus::passes
