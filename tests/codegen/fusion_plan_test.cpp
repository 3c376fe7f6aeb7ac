// Which roots end up in one kernel.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "codegen/compile.h"
#include "codegen/text_kernel.h"
#include "ir/text.h"

namespace gradus::codegen {
namespace {

/// Kernels whose text has `word`.
std::ptrdiff_t kernels_with(const ir::Graph& graph, const std::string& word) {
  const Plan plan = plan_program(graph, {});
  return std::ranges::count_if(plan.kernels, [&](const ScheduledKernel& scheduled) {
    return to_string(scheduled.kernel).find(word) != std::string::npos;
  });
}

TEST(FusionPlan, DearChainsOfSeveralShapesAreComputedOnce) {
  const ir::Graph graph = ir::parse_graph(R"(graph "twins"
%0 = batch "x" : f32[64,64]
%1 = batch "y" : f32[64,64]
%2 = tanh %0
%3 = sigmoid %2
%4 = mul %3, %1
%5 = constant {value = f32[] [0]}
%6 = pad %4, %5 {low = [0,0], high = [0,64], interior = [0,0]}
%7 = mul %3, %3
"a" = %6
"b" = %7
)",
                                          "twins");
  EXPECT_EQ(kernels_with(graph, "call f32 tanh"), 1);
}

}  // namespace
}  // namespace gradus::codegen
