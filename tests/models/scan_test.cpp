// Loops give the interpreter's bits in every executor, and those of their unrolled graphs.

#include "ir/scan.h"

#include <gtest/gtest.h>

#include "codegen/compile.h"
#include "codegen/copy_kernel.h"
#include "codegen/text_kernel.h"
#include "ir/expr.h"
#include "ir/op.h"
#include "ir/text.h"
#include "passes/differentiate.h"
#include "passes/merge_scans.h"
#include "tests/models/executors.h"
#include "tests/support/unroll.h"

namespace gradus {
namespace {

using ir::Expr;

/// Graphs over random inputs.
struct Net {
  ir::Graph graph{"net"};
  Inputs inputs;

  Expr input(const std::string& name, Shape shape, ir::InputKind kind = ir::InputKind::batch) {
    const TensorType type{ElementType::f32, std::move(shape)};
    inputs[name] = random_tensor(type, static_cast<std::uint32_t>(inputs.size()), -1, 1);
    return {&graph, graph.add_input(name, kind, type)};
  }

  void check() const {
    const ir::Interpretation expected = ir::interpret(graph, inputs);
    expect_same(expected, ir::interpret(support::unroll(graph), inputs), "unrolled");
    for (bool fuse : {true, false}) {
      codegen::CompileOptions options;
      options.fuse = fuse;
      for (int threads : {1, 2, 3}) {
        expect_same(expected, run(graph, inputs, options, threads),
                    std::to_string(threads) + (fuse ? " threads fused" : " threads unfused"));
      }
    }
    expect_same(expected, interpret_kernels(graph, inputs), "kernels");
    expect_same(expected, run(graph, inputs, {}, 1, /*least_memory=*/true), "least memory");
  }

  void add_gradients(Expr loss, const std::vector<Expr>& variables) {
    const std::vector<Expr> gradients = passes::gradients(loss, variables);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      graph.add_result("d" + std::to_string(i), gradients[i].value);
    }
  }
};

std::size_t count(const ir::Graph& graph, std::string_view op) {
  std::size_t found = 0;
  const std::vector<bool> live = graph.live();
  for (ir::NodeId id = 0; id < graph.size(); ++id) {
    if (live[id] && graph.node(id).op->name == op) ++found;
  }
  return found;
}

/// A cell with two carried values and gates, as an LSTM's.
std::vector<Expr> gated(Net& net, std::int64_t length, std::int64_t batch, std::int64_t units,
                        bool backwards, std::vector<Expr>& variables) {
  const Expr h = net.input("h", {batch, units}), c = net.input("c", {batch, units});
  const Expr x = net.input("x", {length, batch, 5});
  const Expr w = net.input("w", {5, 4 * units}, ir::InputKind::state);
  const Expr u = net.input("u", {units, 4 * units}, ir::InputKind::state);
  variables = {h, c, x, w, u};
  return ir::scan(
      net.graph, {{h, c}, {x}, {w, u}}, length, backwards, [&](const ir::ScanIteration& i) {
        const Expr z =
            ir::matmul(i.slices[0], i.invariant[0]) + ir::matmul(i.carried[0], i.invariant[1]);
        const auto gate = [&](std::string_view f, std::int64_t number) {
          return ir::map(f,
                         ir::slice(z, {0, number * units}, {batch, (number + 1) * units}, {1, 1}));
        };
        const Expr next = gate("sigmoid", 0) * i.carried[1] + gate("sigmoid", 1) * gate("tanh", 2);
        const Expr out = gate("sigmoid", 3) * ir::map("tanh", next);
        return ir::ScanResults{{out, next}, {out}};
      });
}

TEST(Scans, GiveTheBitsOfTheirUnrolledGraphs) {
  for (const auto& [length, batch, units] : {std::array{5, 3, 4}, {1, 2, 3}, {7, 33, 20}}) {
    for (bool backwards : {false, true}) {
      SCOPED_TRACE(testing::Message() << length << " of " << batch << " x " << units);
      Net net;
      std::vector<Expr> variables;
      const std::vector<Expr> results = gated(net, length, batch, units, backwards, variables);
      net.graph.add_result("last", results[0].value);
      net.graph.add_result("all", results[2].value);
      net.add_gradients(ir::sum_all(results[2] * results[2]) + ir::sum_all(results[1]), variables);
      net.check();
    }
  }
}

/// The gradient's scan needs more of the forward one than the loss: one loop gives both.
TEST(Scans, ForwardWorkIsDoneOnce) {
  Net net;
  std::vector<Expr> variables;
  const std::vector<Expr> results = gated(net, 4, 3, 5, false, variables);
  net.graph.add_result("loss", ir::sum_all(results[0]).value);
  net.add_gradients(ir::sum_all(results[0]), {variables[3], variables[4]});
  EXPECT_EQ(count(net.graph, "scan"), 3u);
  const ir::Graph merged = passes::narrow_scans(passes::merge_scans(net.graph));
  EXPECT_EQ(count(merged, "scan"), 2u);
  expect_same(ir::interpret(net.graph, net.inputs), ir::interpret(merged, net.inputs), "merged");
}

/// Weight gradients are one contraction each, after the loop.
TEST(Scans, WeightGradientsAreOneContraction) {
  Net net;
  std::vector<Expr> variables;
  const std::vector<Expr> results = gated(net, 4, 3, 5, false, variables);
  net.add_gradients(ir::sum_all(results[0]), {variables[3], variables[4]});
  EXPECT_EQ(count(net.graph, "dot"), 3u);  // x w before the loop, dw and du
}

/// A backward loop reads the weights transposed, from panels that are packed before it, and the
/// gates that the forward loop has computed.
TEST(Scans, IterationsShareWhatIsTheSame) {
  Net net;
  std::vector<Expr> variables;
  const std::vector<Expr> results = gated(net, 6, 40, 64, false, variables);
  net.add_gradients(ir::sum_all(results[2] * results[2]), {variables[3], variables[4]});
  net.check();
  const codegen::Plan plan = codegen::plan_program(net.graph, {});
  ASSERT_EQ(plan.loops.size(), 2u);
  const runtime::Loop& backward = plan.loops[1];
  const auto packs = [](const codegen::ScheduledKernel& kernel) {
    return kernel.kernel.name.ends_with("_panels");
  };
  const auto gates = [](const codegen::ScheduledKernel& kernel) {
    return codegen::to_string(kernel.kernel).find("sigmoid") != std::string::npos;
  };
  const auto loop = plan.kernels.begin() + static_cast<std::ptrdiff_t>(backward.first);
  const auto end = loop + static_cast<std::ptrdiff_t>(backward.count);
  EXPECT_EQ(std::count_if(plan.kernels.begin(), loop, packs), 2);
  EXPECT_EQ(std::count_if(loop, end, packs), 0);
  EXPECT_EQ(std::count_if(plan.kernels.begin(), loop, gates), 1);
  EXPECT_EQ(std::count_if(loop, end, gates), 0);
  EXPECT_EQ(std::ranges::count_if(plan.chains, &runtime::Chain::whole_loop), 2);
}

TEST(Scans, OfRowsWithoutElements) {
  Net net;
  const Expr h = net.input("h", {32, 0}), g = net.input("g", {32, 0});
  const std::vector<Expr> results =
      ir::scan(net.graph, {{h, g}, {}, {}}, 5, false, [&](const ir::ScanIteration& i) {
        return ir::ScanResults{{i.carried[1], i.carried[0]}, {i.carried[0]}};
      });
  for (std::size_t i = 0; i < results.size(); ++i) {
    net.graph.add_result("r" + std::to_string(i), results[i].value);
  }
  net.check();
}

TEST(Scans, WhoseRowsMeetRunStepByStep) {
  const auto by_units = [](bool meet) {
    Net net;
    const Expr h = net.input("h", {64, 64}), x = net.input("x", {5, 64, 64});
    const std::vector<Expr> results =
        ir::scan(net.graph, {{h}, {x}, {}}, 5, false, [&](const ir::ScanIteration& i) {
          const Expr other = meet ? ir::reverse(i.carried[0], {0}) : i.carried[0];
          return ir::ScanResults{{ir::map("tanh", other + i.slices[0])}, {i.carried[0]}};
        });
    net.graph.add_result("all", results[1].value);
    net.graph.add_result("last", results[0].value);
    net.check();
    const codegen::Plan plan = codegen::plan_program(net.graph, {});
    return std::ranges::any_of(plan.chains, &runtime::Chain::whole_loop);
  };
  EXPECT_TRUE(by_units(false));
  EXPECT_FALSE(by_units(true));
}

TEST(Scans, SecondOrder) {
  Net net;
  std::vector<Expr> variables;
  const std::vector<Expr> results = gated(net, 3, 2, 4, false, variables);
  const std::vector<Expr> first =
      passes::gradients(ir::sum_all(results[0]), std::vector<Expr>{variables[2]});
  net.add_gradients(ir::sum_all(first[0] * first[0]), {variables[3], variables[4]});
  net.check();
}

TEST(Scans, StateThatLasts) {
  Net net;
  const Expr h = net.input("h", {3, 8}, ir::InputKind::state);
  const Expr x = net.input("x", {6, 3, 8});
  const std::vector<Expr> results =
      ir::scan(net.graph, {{h}, {x}, {}}, 6, false, [](const ir::ScanIteration& i) {
        const Expr next = ir::map("tanh", i.carried[0] + i.slices[0]);
        return ir::ScanResults{{next}, {}};
      });
  net.graph.add_update("h", results[0].value);
  net.check();
}

/// Kernels that only copy, in the only loop of a net.
std::ptrdiff_t copies(const Net& net) {
  net.check();
  const codegen::Plan plan = codegen::plan_program(net.graph, {});
  EXPECT_EQ(plan.loops.size(), 1u);
  const auto first = plan.kernels.begin() + static_cast<std::ptrdiff_t>(plan.loops[0].first);
  return std::count_if(first, first + static_cast<std::ptrdiff_t>(plan.loops[0].count),
                       [](const auto& scheduled) { return codegen::is_copy(scheduled.kernel); });
}

TEST(Scans, CopiesAreStoresOfKernelsThatHaveTheElements) {
  // The new value goes to the stack and to the next iteration, the old one to a stack.
  Net loop;
  const Expr x = loop.input("x", {6, 3, 8});
  std::vector<Expr> results = ir::scan(
      loop.graph, {{loop.input("h", {3, 8})}, {x}, {}}, 6, false, [](const ir::ScanIteration& i) {
        const Expr next = ir::map("tanh", i.carried[0] + i.slices[0]);
        return ir::ScanResults{{next}, {next, i.carried[0]}};
      });
  for (std::size_t r = 0; r < 3; ++r) {
    loop.graph.add_result("y" + std::to_string(r), results[r].value);
  }
  EXPECT_EQ(copies(loop), 0);

  // What is read for the other value cannot be overwritten before.
  Net swapped;
  results =
      ir::scan(swapped.graph, {{swapped.input("a", {3, 4}), swapped.input("b", {3, 4})}, {}, {}}, 5,
               false, [](const ir::ScanIteration& i) {
                 return ir::ScanResults{{i.carried[1] * 0.5, i.carried[0] * 2.0}, {}};
               });
  swapped.graph.add_result("a", results[0].value);
  swapped.graph.add_result("b", results[1].value);
  EXPECT_GE(copies(swapped), 1);
}

/// A graph of batch and state inputs in text form.
void check_text(std::string_view text) {
  Net net;
  net.graph = ir::parse_graph(text);
  for (ir::NodeId id : net.graph.inputs()) {
    const TensorType& type = net.graph.node(id).types[0];
    const auto number = static_cast<std::uint32_t>(net.inputs.size());
    net.inputs[net.graph.node(id).attributes.get<std::string>("name")] =
        random_tensor(type, number, -1, 1);
  }
  net.check();
}

/// Two copies are taken over by one kernel, which loses an output between them.
TEST(Scans, SeveralCopiesBecomeStoresOfOneKernel) {
  check_text(R"(graph "n"
%0 = batch "a" : f32[3,3]
%1 = batch "b" : f32[3,3]
%2 = batch "d" : f32[3,3]
%3 = scan %0, %1, %2 {body = graph "body" {
  %0 = state "c0" : f32[3,3]
  %1 = state "c1" : f32[3,3]
  %2 = state "c2" : f32[3,3]
  %3 = sigmoid %2
  %4 = add %0, %3
  %5 = neg %4
  "c0" <- %0
  "c1" <- %5
  "c2" <- %3
  "y0" = %3
  "y1" = %1
}, length = 3}
"r3" = %3/3
"r4" = %3/4
)");
}

/// What reads other elements of a state than its point overwrites is another loop, before.
TEST(Scans, StatesThatAreReadElsewhere) {
  check_text(R"(graph "r"
%0 = state "c" : f32[4,33]
%1 = reverse %0 {axes = [1]}
%2 = tanh %1
"c" <- %2
"y" = %1
)");
  check_text(R"(graph "r"
%0 = state "c" : f32[33,33]
%1 = transpose %0 {permutation = [1,0]}
%2 = tanh %1
"c" <- %2
"y" = %1
)");
}

/// Values that swap places, outputs that are inputs, the position, constants, and a scan within.
TEST(Scans, OddBodies) {
  Net net;
  const Expr a = net.input("a", {3, 4}), b = net.input("b", {3, 4}), x = net.input("x", {5, 3, 4});
  const auto inner = [](Expr start, Expr step) {
    return ir::scan(*start.graph, {{start}, {}, {step}}, 3, false, [](const ir::ScanIteration& i) {
      const Expr next = i.carried[0] * 0.5 + i.invariant[0];
      return ir::ScanResults{{next}, {i.carried[0]}};
    });
  };
  const std::vector<Expr> results =
      ir::scan(net.graph, {{a, b}, {x}, {b}}, 5, true, [&](const ir::ScanIteration& i) {
        Tensor numbers(TensorType{ElementType::f32, {4}});
        for (float& v : numbers.as<float>()) v = 0.25f;
        const Expr constant = ir::broadcast(ir::constant(*i.position.graph, numbers), {3, 4}, {1});
        const Expr t = ir::cast(i.position, ElementType::f32);
        const std::vector<Expr> within = inner(i.carried[1], i.slices[0] + constant);
        return ir::ScanResults{{i.carried[1], i.carried[0] * 0.5 + t},
                               {i.slices[0], i.carried[0], i.invariant[0], i.carried[0], within[0],
                                ir::sum(within[1], {1}), t, constant}};
      });
  for (std::size_t r = 0; r < results.size(); ++r) {
    net.graph.add_result("y" + std::to_string(r), results[r].value);
  }
  net.check();
}

}  // namespace
}  // namespace gradus
