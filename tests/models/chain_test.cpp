// Chains of kernels: that they are found, that their units are independent, and that they change
// no bit.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "codegen/arena.h"
#include "codegen/compile.h"
#include "executors.h"
#include "ir/text.h"

namespace gradus {
namespace {

using codegen::Access;
using codegen::Affine;
using codegen::AxisId;
using codegen::Kernel;

/// Two convolutions, one of them by tiles, statistics of the batch between them, and what a
/// gradient would read of both.
constexpr std::string_view kNet = R"(graph "net"
%0 = batch "x" : f32[16,24,24,16]
%1 = state "w" : f32[3,3,16,16]
%2 = state "v" : f32[3,3,16,32]
%3 = conv %0, %1 {lhs = [0,3,1,2], rhs = [2,3,0,1], low = [1,1], high = [1,1], algorithm = "winograd_4x4"}
%4 = sum %3 {axes = [0,1,2]} : f32[16]
%5 = broadcast %4 {shape = [16,24,24,16], axes = [3]}
%6 = constant {value = f32[] [0]} : f32[]
%7 = broadcast %6 {shape = [16,24,24,16], axes = []}
%8 = sub %3, %5
%9 = max %8, %7
%10 = conv %9, %2 {lhs = [0,3,1,2], rhs = [2,3,0,1], low = [1,1], high = [1,1], stride = [2,2]}
%11 = sum %10 {axes = [0,1,2]} : f32[32]
%12 = mul %10, %10
%13 = sum %12 {axes = [0,1,2]} : f32[32]
"y" = %10
"sums" = %11
"squares" = %13
)";

ir::Graph net() { return ir::parse_graph(std::string(kNet), "net.ir"); }

Inputs random_inputs(const ir::Graph& graph, std::uint32_t seed) {
  Inputs inputs;
  for (ir::NodeId id : graph.inputs()) {
    const ir::Node& node = graph.node(id);
    inputs[node.attributes.get<std::string>("name")] =
        random_tensor(node.types[0], static_cast<std::uint32_t>(id) + seed, -1, 1);
  }
  return inputs;
}

/// Calls visit(element) for every element of `access` that the kernel touches while its first task
/// axis is in [first, last) of its ranges.
void for_each_element(const Kernel& kernel, const Access& access,
                      const std::vector<codegen::Guard>& guards, ir::Range ranges,
                      const std::function<void(std::int64_t)>& visit) {
  const codegen::Buffer& buffer = kernel.buffers[static_cast<std::size_t>(access.buffer)];
  const codegen::TaskAxis& task = kernel.tasks.front();
  std::vector<AxisId> axes;  // that matter
  const auto collect = [&](const Affine& affine) {
    for (const codegen::Term& term : affine.terms) {
      if (std::ranges::find(axes, term.axis) == axes.end()) axes.push_back(term.axis);
    }
  };
  for (const Affine& index : access.index) collect(index);
  for (const codegen::Guard& guard : guards) collect(guard.value);
  std::vector<std::int64_t> at(kernel.axes.size(), 0);
  const auto numerator = [&](const Affine& affine) {
    std::int64_t value = affine.offset;
    for (const codegen::Term& term : affine.terms) {
      value += term.coefficient * at[static_cast<std::size_t>(term.axis)];
    }
    return value;
  };
  const auto touch = [&] {
    for (const codegen::Guard& guard : guards) {
      const std::int64_t value = numerator(guard.value);
      if (value < 0 || value % guard.value.divisor != 0 ||
          value / guard.value.divisor >= guard.extent) {
        return;
      }
    }
    std::int64_t element = 0;
    std::int64_t behind = 1;  // elements of the dimensions that the access leaves out
    for (std::size_t d = 0; d < buffer.type.shape.size(); ++d) {
      if (d >= access.index.size()) {
        behind *= buffer.type.shape[d];
        continue;
      }
      const Affine& index = access.index[d];
      element = element * buffer.type.shape[d] + numerator(index) / index.divisor;
    }
    for (std::int64_t i = 0; i < behind; ++i) visit(element * behind + i);
  };
  const std::function<void(std::size_t)> loop = [&](std::size_t number) {
    if (number == axes.size()) return touch();
    const AxisId axis = axes[number];
    ir::Range range{0, kernel.axes[static_cast<std::size_t>(axis)].extent};
    if (axis == task.axis) range = {task.cut(ranges.begin).begin, task.cut(ranges.end - 1).end};
    if (kernel.axes[static_cast<std::size_t>(axis)].block_of == task.axis) range = ranges;
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      at[static_cast<std::size_t>(axis)] = i;
      loop(number + 1);
    }
  };
  loop(0);
}

struct Touch {
  const Access* access = nullptr;
  std::vector<codegen::Guard> guards;
  bool written = false;
};

std::vector<Touch> touches_of(const Kernel& kernel) {
  std::vector<Touch> result;
  const auto read = [&](const codegen::Body& body) {
    for (const codegen::Load& load : body.loads) {
      result.push_back({&load.access, load.guards, false});
    }
  };
  for (const codegen::Stage& stage : kernel.stages) {
    if (const auto* loop = std::get_if<codegen::Loop>(&stage)) {
      read(loop->body);
      for (const auto& store : loop->stores) result.push_back({&store.target, {}, true});
      for (const auto& sum : loop->accumulates) result.push_back({&sum.target, {}, true});
    } else {
      const auto& contract = std::get<codegen::Contract>(stage);
      result.push_back({&contract.lhs, {}, false});
      result.push_back({&contract.rhs, {}, false});
      read(contract.epilogue);
      for (const auto& store : contract.stores) result.push_back({&store.target, {}, true});
    }
  }
  std::erase_if(result, [&](const Touch& touch) {
    return kernel.buffers[static_cast<std::size_t>(touch.access->buffer)].role ==
           codegen::BufferRole::scratch;
  });
  return result;
}

/// Looks at every element that the kernels of the chain touch.
void expect_independent_units(const codegen::Plan& plan, const runtime::Chain& chain) {
  std::map<std::pair<codegen::Parameter, std::int64_t>, std::int64_t> writer;
  for (const bool writes : {true, false}) {
    for (std::size_t k = chain.first; k < chain.first + chain.count; ++k) {
      const codegen::ScheduledKernel& scheduled = plan.kernels[k];
      const std::int64_t per_unit = scheduled.kernel.tasks.front().cut.count / chain.units;
      ASSERT_EQ(scheduled.kernel.task_count() % chain.units, 0);
      ASSERT_EQ(scheduled.kernel.tasks.front().cut.count % chain.units, 0);
      for (const Touch& touch : touches_of(scheduled.kernel)) {
        if (touch.written != writes) continue;
        const auto buffer = static_cast<std::size_t>(touch.access->buffer);
        const codegen::Parameter memory =
            codegen::memory_key(plan.graph, plan.fusion, scheduled.parameters[buffer]);
        for (std::int64_t unit = 0; unit < chain.units; ++unit) {
          std::int64_t foreign = 0;
          for_each_element(scheduled.kernel, *touch.access, touch.guards,
                           {unit * per_unit, (unit + 1) * per_unit}, [&](std::int64_t element) {
                             const std::pair key{memory, element};
                             if (writes) {
                               foreign += writer.emplace(key, unit).first->second != unit;
                             } else {
                               const auto at = writer.find(key);
                               foreign += at != writer.end() && at->second != unit;
                             }
                           });
          ASSERT_EQ(foreign, 0) << scheduled.kernel.name << ", unit " << unit;
        }
      }
    }
  }
}

TEST(Chain, UnitsAreIndependent) {
  const ir::Graph graph = net();
  const codegen::Plan plan = codegen::plan_program(graph, {});
  std::size_t kernels = 0;
  for (const runtime::Chain& chain : plan.chains) {
    EXPECT_GE(chain.count, 2u);
    EXPECT_LE(chain.count, runtime::kLongestChain);
    EXPECT_GE(chain.first, kernels == 0 ? 0 : kernels);
    kernels = chain.first + chain.count;
    expect_independent_units(plan, chain);
  }
  // Both convolutions run with what is before and after them.
  EXPECT_GE(plan.chains.size(), 2u);
}

/// Scores of queries and keys that are both brought into another order first.
constexpr std::string_view kScores = R"(graph "scores"
%0 = batch "q" : f32[16,64,4,32]
%1 = batch "k" : f32[16,64,4,32]
%2 = transpose %0 {permutation = [0,2,1,3]}
%3 = transpose %1 {permutation = [0,2,1,3]}
%4 = dot %2, %3 {lhs_batch = [0,1], rhs_batch = [0,1], lhs_contract = [3], rhs_contract = [3]}
"queries" = %2
"keys" = %3
"scores" = %4
)";

TEST(Chain, KernelsJoinWhoseResultsAMemberReads) {
  const ir::Graph graph = ir::parse_graph(std::string(kScores), "scores.ir");
  const codegen::Plan plan = codegen::plan_program(graph, {});
  ASSERT_EQ(plan.chains.size(), 1u);
  EXPECT_EQ(plan.chains[0].count, 3u) << "both orders and the scores";
  expect_independent_units(plan, plan.chains[0]);
  const Inputs inputs = random_inputs(graph, 3);
  codegen::CompileOptions alone;
  alone.without = {"chains"};
  expect_same(run(graph, inputs, alone, 1), run(graph, inputs, {}, 2), "in a chain");
}

TEST(Chain, ChangesNoBit) {
  const ir::Graph graph = net();
  const Inputs inputs = random_inputs(graph, 1);
  codegen::CompileOptions alone;
  alone.without = {"chains"};
  EXPECT_TRUE(codegen::plan_program(graph, alone).chains.empty());
  const ir::Interpretation expected = run(graph, inputs, alone, 1);
  codegen::CompileOptions unfused;
  unfused.fuse = false;
  EXPECT_TRUE(codegen::plan_program(graph, unfused).chains.empty());
  expect_same(expected, run(graph, inputs, unfused, 2), "unfused");
  for (const int threads : {1, 2, 3, 4}) {
    expect_same(expected, run(graph, inputs, {}, threads), std::to_string(threads) + " threads");
  }
}

TEST(OptionalStages, ChangeNoBit) {
  const ir::Graph graph = net();
  const Inputs inputs = random_inputs(graph, 7);
  const ir::Interpretation expected = run(graph, inputs, {}, 2);
  EXPECT_GE(codegen::optional_stages().size(), 5u);
  for (const std::string& stage : codegen::optional_stages()) {
    codegen::CompileOptions options;
    options.without = {stage};
    expect_same(expected, run(graph, inputs, options, 2), "without " + stage);
  }
}

}  // namespace
}  // namespace gradus
