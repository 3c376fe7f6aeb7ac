#include "passes/flushed.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ir/interpret.h"
#include "ir/op.h"
#include "tests/support/random_graph.h"

namespace gradus::passes {
namespace {

bool has_subnormal(const Tensor& tensor) {
  return dispatch(tensor.type.element, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      for (T value : tensor.as<T>()) {
        if (std::fpclassify(value) == FP_SUBNORMAL) return true;
      }
    }
    return false;
  });
}

TEST(Flushed, NeverSeesASubnormal) {
  int flushed = 0;
  int subnormal = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    ir::Graph graph = support::random_graph(seed);
    const auto size = static_cast<ir::NodeId>(graph.size());
    for (ir::NodeId id = 0; id < size; ++id) {
      if (graph.node(id).types[0].element_count() > 2000) continue;
      graph.add_result("node " + std::to_string(id), {id, 0});
    }
    const auto inputs = support::random_inputs(graph, seed, support::InputValues::special);
    const ir::Interpretation values = ir::interpret(graph, inputs);
    for (const auto& [name, value] : values.outputs) {
      if (!name.starts_with("node ")) continue;
      const auto id = static_cast<ir::NodeId>(std::stoul(name.substr(5)));
      const bool found = has_subnormal(value);
      const bool claimed = is_flushed({&graph, {id, 0}});
      EXPECT_FALSE(claimed && found)
          << "random_graph(" << seed << "), " << name << " (" << graph.node(id).op->name << ")";
      flushed += claimed ? 1 : 0;
      subnormal += found ? 1 : 0;
    }
  }
  EXPECT_GT(flushed, 300);
  EXPECT_GT(subnormal, 300);
}

}  // namespace
}  // namespace gradus::passes
