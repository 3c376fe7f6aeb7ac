#include "passes/known_unions.h"

#include <gtest/gtest.h>

namespace gradus::passes {
namespace {

/// Roots 1, 2 and 3, each of which reads the one before.
FusionPlan chain() {
  FusionPlan plan;
  for (ir::NodeId id : {1u, 2u, 3u}) {
    Root& root = plan.roots[id];
    root.iteration = {{4}, {0}, -1, {}};
    if (id > 1) root.roots.push_back({id - 1, {0}, false});
  }
  return plan;
}

TEST(KnownUnions, HoldForRootsThatStayedTheSame) {
  const FusionPlan first = chain();
  KnownUnions unions;
  unions.begin(4, {}, first.roots, {});
  const std::vector<std::uint32_t> before{unions.version(1), unions.version(2), unions.version(3)};
  EXPECT_NE(before[0], before[1]);
  EXPECT_NE(before[1], before[2]);
  int found_out = 0;
  const auto ask = [&](ir::NodeId a, ir::NodeId b) {
    return unions.of({unions.version(a), unions.version(b)}, [&] {
      ++found_out;
      return Union{"because", {}};
    });
  };
  const std::uint32_t both = ask(1, 2).version;
  EXPECT_EQ(ask(1, 2).version, both);
  EXPECT_EQ(found_out, 1);

  FusionPlan second = chain();
  second.roots[3].roots[0].value = 1;  // reads another value
  unions.begin(4, first, second.roots, {});
  EXPECT_EQ(unions.version(1), before[0]);
  EXPECT_EQ(unions.version(2), before[1]);
  EXPECT_NE(unions.version(3), before[2]);
  EXPECT_EQ(ask(1, 2).version, both);
  EXPECT_EQ(found_out, 1);

  FusionPlan third = second;
  third.in_place[3] = 0;
  unions.begin(4, second, third.roots, third.in_place);
  EXPECT_NE(unions.version(1), before[0]);
  EXPECT_NE(ask(1, 2).version, both);
  EXPECT_EQ(found_out, 2);
}

}  // namespace
}  // namespace gradus::passes
