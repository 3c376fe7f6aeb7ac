#include "passes/group_order.h"

#include <gtest/gtest.h>

#include "ir/expr.h"
#include "ir/op.h"

namespace gradus::passes {
namespace {

using ir::Expr;

/// Five sums, each over what another one gives or over an input.
class GroupOrders : public testing::Test {
 protected:
  GroupOrders() {
    const auto input = [&](const std::string& name) {
      return Expr{&graph_,
                  graph_.add_input(name, ir::InputKind::batch, {ElementType::f32, {8, 8}})};
    };
    const auto sum_of = [](Expr x) { return ir::sum(ir::broadcast(x, {8, 8}, {0}), {1}); };
    first_ = ir::sum(input("x"), {1});
    after_first_ = sum_of(first_);
    other_ = ir::sum(input("y"), {1});
    after_other_ = sum_of(other_);
    last_ = sum_of(after_other_);
    graph_.add_result("a", after_first_.value);
    graph_.add_result("b", last_.value);
    ProgramCosts costs(graph_);
    roots_ = RootFinder(graph_, false, costs).find();
    for (const auto& [id, root] : roots_) all_.push_back(id);
  }

  ir::Graph graph_{"sums"};
  Expr first_, after_first_, other_, after_other_, last_;
  std::map<ir::NodeId, Root> roots_;
  std::vector<ir::NodeId> all_;
};

TEST_F(GroupOrders, KnowWaysThroughGroupsOfRootsFarFromEachOther) {
  const RootOrder roots(graph_, roots_, {});
  GroupOrder groups(roots, graph_.size(), all_);
  const ir::NodeId first = first_.value.node, last = last_.value.node;
  EXPECT_FALSE(groups.far_apart(last, first));
  ASSERT_FALSE(groups.far_apart(other_.value.node, after_first_.value.node));
  const ir::NodeId both = groups.merge(other_.value.node, after_first_.value.node);
  EXPECT_EQ(groups.owner(after_first_.value.node), both);
  EXPECT_EQ(groups.owner(other_.value.node), both);
  EXPECT_TRUE(groups.far_apart(last, first)) << "last, after other, other and after first, first";
  EXPECT_TRUE(groups.far_apart(first, last));
  EXPECT_TRUE(groups.far_apart(both, last));
  EXPECT_FALSE(groups.far_apart(both, first));
}

TEST_F(GroupOrders, MergesKeepTheOrder) {
  const RootOrder roots(graph_, roots_, {});
  GroupOrder groups(roots, graph_.size(), all_);
  const ir::NodeId chain = groups.merge(last_.value.node, after_other_.value.node);
  EXPECT_FALSE(groups.far_apart(chain, first_.value.node));
  const ir::NodeId all = groups.merge(chain, first_.value.node);
  EXPECT_FALSE(groups.far_apart(all, other_.value.node));
  EXPECT_FALSE(groups.far_apart(all, after_first_.value.node));
  EXPECT_TRUE(groups.far_apart(after_first_.value.node, other_.value.node))
      << "after first, all, other";
}

}  // namespace
}  // namespace gradus::passes
