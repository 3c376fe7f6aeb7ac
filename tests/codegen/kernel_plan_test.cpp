// What schedules make of graphs: every kernel keeps the laws, survives its text, and gives the bits
// of the reference interpreter, interpreted itself or compiled for any instruction set.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

#include "attention_graph.h"
#include "codegen/compile.h"
#include "codegen/interpret_kernel.h"
#include "codegen/text_kernel.h"
#include "codegen/verify_kernel.h"
#include "ir/expr.h"
#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/text.h"
#include "kernel_execution.h"
#include "passes/differentiate.h"
#include "passes/roots.h"

namespace gradus::codegen {
namespace {

using ir::Expr;
using ir::Graph;

Expr input(Graph& graph, const std::string& name, TensorType type,
           ir::InputKind kind = ir::InputKind::batch) {
  return {&graph, graph.add_input(name, kind, std::move(type))};
}
Expr state(Graph& graph, const std::string& name, TensorType type) {
  return input(graph, name, std::move(type), ir::InputKind::state);
}
TensorType f32(Shape shape) { return {ElementType::f32, std::move(shape)}; }

/// Runs one kernel on the given buffers; returns the fault word.
using RunKernel = std::function<runtime::FaultWord(std::size_t number, const Kernel& kernel,
                                                   const std::vector<std::byte*>& buffers)>;

/// Runs the kernels of a plan one after another, each as it comes back from its text.
class PlanRunner {
 public:
  PlanRunner(const Plan& plan, const std::map<std::string, Tensor>& inputs)
      : plan_(plan), inputs_(inputs) {
    for (const ScheduledKernel& scheduled : plan.kernels) {
      const std::string text = to_string(scheduled.kernel);
      kernels_.push_back(parse_kernel(text));
      EXPECT_EQ(to_string(kernels_.back()), text);
      const std::optional<KernelViolation> violation = find_violation(kernels_.back());
      EXPECT_FALSE(violation) << violation->message << "\n" << text;
    }
  }
  [[nodiscard]] const std::vector<Kernel>& kernels() const { return kernels_; }

  void run(const RunKernel& run_kernel) {
    for (std::size_t k = 0; k < kernels_.size(); ++k) {
      const std::vector<Parameter>& parameters = plan_.kernels[k].parameters;
      std::vector<std::byte*> buffers;
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        Tensor& tensor = memory(parameters[i], kernels_[k].buffers[i].type);
        EXPECT_EQ(tensor.type.byte_size(), kernels_[k].buffers[i].type.byte_size());
        buffers.push_back(tensor.bytes.data());
      }
      EXPECT_EQ(run_kernel(k, kernels_[k], buffers), 0u);
    }
  }
  Tensor& output(ir::Value value) {
    return memory({passes::memory_of(plan_.graph, value.node), 0, 0}, plan_.graph.type(value));
  }
  /// The new content of the state input `id`.
  Tensor& updated(ir::NodeId id) {
    constexpr std::int64_t kUpdatedState = -2;
    const auto copied = memory_.find({id, kUpdatedState, 0});
    if (copied != memory_.end()) return copied->second;
    return memory({id, 0, 0}, plan_.graph.node(id).types[0]);
  }

 private:
  Tensor& memory(Parameter parameter, const TensorType& type) {
    const auto state = plan_.fusion.in_place.find(parameter.value);
    if (state != plan_.fusion.in_place.end() && parameter.panel == 0) {
      parameter.value = state->second;
    }
    if (parameter.panel <= 0) parameter.packed_for = 0;
    const auto known = memory_.find(parameter);
    if (known != memory_.end()) return known->second;
    const ir::Node& node = plan_.graph.node(parameter.value);
    Tensor content(type);
    if (parameter.panel == 0) {
      if (const ir::Attribute* value = node.attributes.find("value");
          value && std::holds_alternative<ir::TensorPointer>(*value)) {
        content = *std::get<ir::TensorPointer>(*value);
      } else if (std::holds_alternative<ir::InputComputation>(node.op->compute)) {
        content = inputs_.at(node.attributes.get<std::string>("name"));
      }
    }
    return memory_.emplace(parameter, std::move(content)).first->second;
  }

  const Plan& plan_;
  const std::map<std::string, Tensor>& inputs_;
  std::vector<Kernel> kernels_;
  std::map<Parameter, Tensor> memory_;
};

struct Example {
  std::string name;
  void (*build)(Graph& graph);
  friend void PrintTo(const Example& example, std::ostream* out) { *out << example.name; }
};

/// The gradients of normalised rows times a scale by column, plus a shift.
void add_row_gradients(Graph& g, const Shape& shape) {
  const Expr x = input(g, "x", f32(shape));
  const Expr dy = input(g, "dy", f32(shape));
  const Expr scale = state(g, "scale", f32({shape[1]}));
  const Expr shift = state(g, "shift", f32({shape[1]}));
  const Expr d = x - ir::broadcast_reduced(ir::mean(x, {1}), shape, {1});
  const Expr inverse = ir::map("rsqrt", ir::mean(d * d, {1}) + 0.001);
  const Expr y = d * ir::broadcast_reduced(inverse, shape, {1}) * ir::broadcast(scale, shape, {1}) +
                 ir::broadcast(shift, shape, {1});
  const std::vector<Expr> of{x, scale, shift};
  const std::vector<Expr> gradients = passes::gradients(ir::sum_all(y * dy), of);
  g.add_result("dx", gradients[0].value);
  g.add_result("dscale", gradients[1].value);
  g.add_result("dshift", gradients[2].value);
}

/// The gradient for the image of a convolution of every other place, channel by channel: the places
/// that the same taps reach are a sum each, and the gradient is nothing but these in turn.
void add_strided_gradient(Graph& g) {
  const Expr x = input(g, "x", f32({8, 16, 16, 20, 1}));
  const Expr w = input(g, "w", f32({3, 3, 20, 1, 1}));
  const Expr y = ir::conv(x, w, {0, 4, 3, 4, 3, 2, {{1, 0, 2, 1, 1}, {2, 1, 2, 1, 1}}});
  const Expr dy = input(g, "dy", f32(y.shape()));
  g.add_result("dx", passes::gradients(ir::sum_all(y * dy), std::vector<Expr>{x})[0].value);
}

const Example kExamples[] = {
    {"strided_gradient", add_strided_gradient},
    {"a_part_in_another_shape_and_its_reader",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({10, 8, 2, 16}));
       const Expr whole = ir::transpose(ir::reshape(ir::sum(x, {3}), {10, 1, 8, 2}), {0, 2, 1, 3});
       g.add_result("whole", whole.value);
       const Expr z = input(g, "z", f32(whole.shape()));
       g.add_result("sums", ir::sum(whole * z, {0, 1, 2}).value);
     }},
    {"parts_and_readers_of_the_whole",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({12, 30, 5}));
       const Expr z = input(g, "z", f32({12, 7, 5}));
       const std::vector<Expr> parts{ir::sum(x, {1}), ir::map("tanh", ir::sum(z, {1}))};
       const Expr whole = ir::concat(parts, 1);
       g.add_result("whole", whole.value);
       g.add_result("rows", ir::sum(whole * whole, {1}).value);
       g.add_result("first", ir::slice(whole * 2.0, {0, 1}, {12, 9}, {1, 2}).value);
     }},
    {"rows_and_columns",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({13, 37}));
       const Expr mean = ir::mean(x, {1});
       const Expr d = x - ir::broadcast_reduced(mean, x.shape(), {1});
       const Expr variance = ir::mean(d * d, {1});
       const Expr y = d / ir::broadcast_reduced(ir::map("sqrt", variance + 0.001), x.shape(), {1});
       g.add_result("y", y.value);
       g.add_result("columns", ir::sum(y, {0}).value);
     }},
    {"nothing_to_add",
     [](Graph& g) {
       g.add_result("y", ir::sum(input(g, "x", f32({4, 16, 5, 0, 8})), {2, 3}).value);
     }},
    {"softmax",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({40, 33}));
       const Expr top = ir::reduce("reduce_max", x, {1});
       const Expr e = ir::map("exp", x - ir::broadcast_reduced(top, x.shape(), {1}));
       g.add_result("y", (e / ir::broadcast_reduced(ir::sum(e, {1}), x.shape(), {1})).value);
     }},
    {"block_sums",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({200, 33}));
       g.add_result("columns", ir::sum(x * 2.0, {0}).value);
       g.add_result("rows", ir::sum(x, {1}).value);
       g.add_result("all", ir::sum_all(x * x).value);
     }},
    {"gradients_of_rows", [](Graph& g) { add_row_gradients(g, {1000, 70}); }},
    {"dense",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({37, 70}));
       const Expr w = input(g, "w", f32({70, 50}));
       const Expr b = input(g, "b", f32({50}));
       const Expr z = ir::matmul(x, w) + ir::broadcast(b, {37, 50}, {1});
       const Expr y = ir::map("max", z, ir::full_like(z, 0));
       g.add_result("y", y.value);
       g.add_result("top", ir::reduce("reduce_max", y, {1}).value);
     }},
    {"long_contraction",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({9, 1500}));
       const Expr w = input(g, "w", f32({1500, 21}));
       g.add_result("y", ir::matmul(x, w).value);
     }},
    {"transposed_contractions",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({40, 21}));
       const Expr w = input(g, "w", f32({21, 33}));
       const Expr dy = input(g, "dy", f32({40, 33}));
       g.add_result("dw", ir::matmul(ir::transpose(x, {1, 0}), dy).value);
       g.add_result("dx", ir::matmul(dy, ir::transpose(w, {1, 0})).value);
     }},
    {"panels_in_tasks",  // whose columns are not as many in all
     [](Graph& g) {
       const Expr dy = input(g, "dy", f32({16, 512}));
       const Expr w = input(g, "w", f32({784, 512}));
       g.add_result("dx", ir::matmul(dy, ir::transpose(w, {1, 0})).value);
     }},
    {"batched_contraction",
     [](Graph& g) {
       const Expr q = input(g, "q", f32({3, 17, 8}));
       const Expr k = input(g, "k", f32({3, 19, 8}));
       const Expr s = ir::dot(q, k, {{0}, {0}, {2}, {2}});
       const Expr top = ir::reduce("reduce_max", s, {2});
       g.add_result("d", (s - ir::broadcast_reduced(top, s.shape(), {2})).value);
     }},
    {"attention", [](Graph& g) { g.add_result("y", attention(g, {4, 70, 16}, 65, 0.25).value); }},
    {"expanded_rows",  // the first epilogue makes what the second contraction reads
     [](Graph& g) {
       const Expr h = ir::matmul(input(g, "x", f32({300, 6})), input(g, "w1", f32({6, 40})));
       const Expr w2 = input(g, "w2", f32({40, 20}));
       g.add_result("y", ir::matmul(ir::map("tanh", h), w2).value);
     }},
    {"small_contraction",
     [](Graph& g) {
       g.add_result("y",
                    ir::matmul(input(g, "x", f32({3, 100})), input(g, "w", f32({100, 2}))).value);
     }},
    {"movement",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({5, 6}));
       const Expr y = input(g, "y", f32({5, 6}));
       const Expr zero = ir::constant(g, ElementType::f32, 0);
       const Expr padded = ir::pad(ir::transpose(x + y, {1, 0}), zero, {1, -1}, {2, 3}, {1, 0});
       const Expr pieces[] = {x, ir::reverse(y, {1}), x * y};
       const Expr joined = ir::concat(pieces, 1);
       g.add_result("padded", padded.value);
       g.add_result("slice", ir::slice(joined, {1, 2}, {5, 17}, {2, 3}).value);
       g.add_result("sums", ir::sum(joined, {1}).value);
       g.add_result("flat", ir::reshape(joined * 2.0, {90}).value);
     }},
    {"positions",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({11, 23}));
       g.add_result("row", ir::apply("arg_max", {x}, {{"axes", ir::Integers{1}}}).value);
       g.add_result("column", ir::apply("arg_min", {x}, {{"axes", ir::Integers{0}}}).value);
       g.add_result("any",
                    ir::reduce("any", ir::map("less", x, ir::full_like(x, -1.9)), {0}).value);
     }},
    {"division",
     [](Graph& g) {
       const Expr a = input(g, "a", {ElementType::i32, {4, 9}});
       const Expr zero = ir::constant(g, ElementType::i32, 0);
       const Expr b = ir::map("max", a, ir::full_like(a, 1));
       g.add_result("y", ir::pad(a / b, zero, {1, 0}, {0, 2}, {0, 1}).value);
     }},
    {"exchange",
     [](Graph& g) {
       const Expr a = state(g, "a", f32({40}));
       const Expr b = state(g, "b", f32({40}));
       g.add_update("a", b.value);
       g.add_update("b", (a + b).value);
     }},
    {"train_step",
     [](Graph& g) {
       const Expr x = input(g, "x", f32({48, 20}));
       const Expr t = input(g, "t", f32({48, 10}));
       const Expr w1 = state(g, "w1", f32({20, 33}));
       const Expr b1 = state(g, "b1", f32({33}));
       const Expr w2 = state(g, "w2", f32({33, 10}));
       const Expr z = ir::matmul(x, w1) + ir::broadcast(b1, {48, 33}, {1});
       const Expr h = ir::map("max", z, ir::full_like(z, 0));
       const Expr d = ir::matmul(h, w2) - t;
       const Expr loss = ir::sum_all(d * d) * (1.0 / 480);
       g.add_result("loss", loss.value);
       const std::vector<Expr> parameters{w1, b1, w2};
       const std::vector<Expr> gradients = passes::gradients(loss, parameters);
       const char* names[] = {"w1", "b1", "w2"};
       for (std::size_t i = 0; i < 3; ++i) {
         g.add_update(names[i], (parameters[i] - gradients[i] * 0.1).value);
       }
     }},
};

/// Empty: the kernel interpreter.
using Executor = std::optional<InstructionSet>;

std::vector<Executor> executors() {
  std::vector<Executor> all{std::nullopt};
  for (InstructionSet set : kInstructionSets) {
    if (host_supports(set)) all.emplace_back(set);
  }
  return all;
}

RunKernel make_runner(const Executor& executor, const std::vector<Kernel>& kernels) {
  if (!executor) {
    return [](std::size_t, const Kernel& kernel, const std::vector<std::byte*>& buffers) {
      runtime::FaultWord fault = 0;
      interpret(kernel, buffers, &fault);
      return fault;
    };
  }
  return [code = compile(kernels, make_target(*executor), 1)](
             std::size_t number, const Kernel& kernel, const std::vector<std::byte*>& buffers) {
    return run_compiled(code.kernels[number], kernel.task_count(), buffers);
  };
}

class PlannedKernels : public testing::TestWithParam<std::tuple<Example, bool, Executor>> {};

TEST_P(PlannedKernels, GiveTheBitsOfTheReference) {
  const auto& [example, fuse, executor] = GetParam();
  Graph graph(example.name);
  example.build(graph);
  std::map<std::string, Tensor> inputs;
  for (ir::NodeId id : graph.inputs()) {
    const ir::Node& node = graph.node(id);
    inputs.emplace(node.attributes.get<std::string>("name"), random_tensor(node.types[0], id + 1));
  }
  const ir::Interpretation expected = ir::interpret(graph, inputs);
  const Plan plan =
      plan_program(graph, {.set = executor.value_or(InstructionSet::x86_64_v3), .fuse = fuse});
  PlanRunner runner(plan, inputs);
  runner.run(make_runner(executor, runner.kernels()));
  for (const ir::Result& result : plan.graph.results()) {
    const Tensor& wanted =
        result.update ? expected.updates.at(result.name) : expected.outputs.at(result.name);
    const Tensor& found = result.update ? runner.updated(plan.graph.find_input(result.name)->node)
                                        : runner.output(result.value);
    EXPECT_EQ(found.bytes, wanted.bytes) << result.name;
  }
}

std::string test_name(const testing::TestParamInfo<std::tuple<Example, bool, Executor>>& test) {
  const auto& [example, fuse, executor] = test.param;
  std::string name = example.name + (fuse ? "_fused_" : "_alone_");
  for (char c : executor ? to_string(*executor) : "interpreted") name += c == '-' ? '_' : c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, PlannedKernels,
                         testing::Combine(testing::ValuesIn(kExamples), testing::Bool(),
                                          testing::ValuesIn(executors())),
                         test_name);

TEST(KernelPlan, PartsAreStoredWhereTheyBelong) {
  Graph graph("parts");
  add_strided_gradient(graph);
  const Plan plan = plan_program(graph, {});
  ASSERT_EQ(plan.kernels.size(), 1U);
  const Kernel& kernel = plan.kernels[0].kernel;
  EXPECT_EQ(kernel.stages.size(), 4U) << to_string(kernel);
  for (const Stage& stage : kernel.stages) {
    EXPECT_FALSE(std::get<Loop>(stage).accumulates.empty()) << to_string(kernel);
  }
  EXPECT_TRUE(std::ranges::none_of(
      kernel.buffers, [](const Buffer& buffer) { return buffer.role == BufferRole::scratch; }));
}

TEST(KernelPlan, PartsOfSumsHaveNoTiles) {
  Graph graph("wide");
  const Expr x = input(graph, "x", f32({64, 16}));
  const Expr a = input(graph, "a", f32({16, 16384}));
  const Expr b = input(graph, "b", f32({16384, 64}));
  graph.add_result("y", ir::matmul(ir::map("tanh", ir::matmul(x, a)), b).value);
  const Plan plan = plan_program(graph, {});
  const Kernel& kernel = plan.kernels[0].kernel;
  ASSERT_EQ(kernel.stages.size(), 2U) << to_string(kernel);
  EXPECT_EQ(kernel.tasks[0].axis, std::get<Contract>(kernel.stages[1]).k[0]) << to_string(kernel);
  EXPECT_FALSE(kernel.tile) << to_string(kernel);
}

TEST(KernelPlan, ScratchIsKnownBeforeCompiling) {
  // Few rows of a transposed right operand are copied; many that share sets are read in chunks.
  for (const auto& [m, n, k, transposed] :
       {std::tuple<std::int64_t, std::int64_t, std::int64_t, bool>{4, 784, 512, true},
        {64, 512, 2048, true},
        {1024, 1024, 1024, false}}) {
    SCOPED_TRACE(fmt::format("{} x {} x {}", m, n, k));
    Graph graph("product");
    const Expr x = input(graph, "x", f32({m, k}));
    const Expr w = input(graph, "w", transposed ? f32({n, k}) : f32({k, n}));
    graph.add_result("y", ir::matmul(x, transposed ? ir::transpose(w, {1, 0}) : w).value);
    Plan plan = plan_program(graph, {});
    const std::int64_t expected = place(plan, {}).scratch_bytes;
    const std::int64_t found = compile(plan, {}, {}).scratch_bytes;
    EXPECT_GE(expected, found);
    EXPECT_LE(expected, 2 * found + 4096);
  }
}

/// Kernels that read the input of the given name.
std::size_t readers(const Plan& plan, const std::string& name) {
  const ir::NodeId id = plan.graph.find_input(name)->node;
  return static_cast<std::size_t>(
      std::ranges::count_if(plan.kernels, [&](const ScheduledKernel& kernel) {
        return std::ranges::any_of(kernel.parameters,
                                   [&](const Parameter& p) { return p.value == id; });
      }));
}

TEST(KernelPlan, SumsOverRowsAndMapsReadTheirInputsTogether) {
  Graph graph("normalised");
  add_row_gradients(graph, {1000, 70});
  const Plan fused = plan_program(graph, {});
  EXPECT_EQ(readers(fused, "x"), 1U);
  EXPECT_EQ(readers(fused, "dy"), 1U);
  // Nothing is gained where everything stays in a cache.
  Graph few("few_rows");
  add_row_gradients(few, {64, 70});
  EXPECT_GT(readers(plan_program(few, {}), "dy"), 1U);
}

/// The rows of a tile of the kernel that normalises an array of the shape.
std::int64_t tile_of_normalisation(const Shape& shape, bool dear) {
  Graph graph("normalisation");
  Expr x = input(graph, "x", f32(shape));
  if (dear) x = ir::map("erf", ir::map("erf", ir::map("erf", x)));
  const Expr d = x - ir::broadcast_reduced(ir::mean(x, {1}), shape, {1});
  const Expr variance = ir::mean(d * d, {1});
  const Expr y = d * ir::broadcast_reduced(ir::map("rsqrt", variance), shape, {1});
  graph.add_result("y", y.value);
  const Plan plan = plan_program(graph, {});
  EXPECT_EQ(plan.kernels.size(), 1U);
  EXPECT_TRUE(plan.kernels[0].kernel.tile);
  return plan.kernels[0].kernel.tile ? plan.kernels[0].kernel.tile->size : 0;
}

TEST(KernelPlan, TilesOfRowsAreShortWhereTheyWaitForMemory) {
  EXPECT_EQ(tile_of_normalisation({16384, 64}, false), 16);
  EXPECT_EQ(tile_of_normalisation({4096, 256}, false), 4);
  EXPECT_EQ(tile_of_normalisation({4096, 1024}, false), 1);
  EXPECT_EQ(tile_of_normalisation({4096, 8192}, false), 1);
  EXPECT_EQ(tile_of_normalisation({64, 1024}, false), 4);   // near
  EXPECT_EQ(tile_of_normalisation({4096, 1024}, true), 4);  // busy
}

TEST(KernelPlan, SumsDoNotJoinWhatTheyComeAfter) {
  Graph graph("centred");
  const Expr x = input(graph, "x", f32({1000, 70}));
  const Expr columns = ir::sum(x, {0});
  graph.add_result("columns", columns.value);
  graph.add_result("y", (x - ir::broadcast(columns, x.shape(), {1})).value);
  EXPECT_EQ(readers(plan_program(graph, {}), "x"), 2U);
}

TEST(KernelPlan, UpdatesAfterAProductReadWholeRows) {
  const auto cut_axes = [](bool update) {
    Graph graph("product");
    const Expr x = input(graph, "x", f32({64, 784}));
    const Expr y = input(graph, "y", f32({64, 512}));
    const Expr w = input(graph, "w", f32({784, 512}));
    const Expr product = ir::matmul(ir::transpose(x, {1, 0}), y);
    graph.add_result("w", (update ? w - product : product).value);
    const Plan plan = plan_program(graph, {});
    return plan.kernels.back().kernel.tasks.size();
  };
  EXPECT_EQ(cut_axes(false), 2U);
  EXPECT_EQ(cut_axes(true), 1U) << "of 3.2 MB";
}

TEST(KernelPlan, TasksOfSumsReadWholeRows) {
  const auto cut_axes = [](const Shape& shape) {
    Graph graph("sums");
    graph.add_result("columns", ir::sum(input(graph, "x", f32(shape)), {0, 1}).value);
    return plan_program(graph, {}).kernels[0].kernel.tasks.size();
  };
  EXPECT_EQ(cut_axes({16, 128, 256}), 1U) << "blocks of rows are tasks enough";
  EXPECT_EQ(cut_axes({4, 128, 256}), 2U) << "too few blocks";
}

/// Tasks by the name of their axis.
std::map<std::string, std::int64_t> cuts(const Kernel& kernel) {
  std::map<std::string, std::int64_t> result;
  for (const TaskAxis& task : kernel.tasks) {
    result[kernel.axes[static_cast<std::size_t>(task.axis)].name] = task.cut.count;
  }
  return result;
}

TEST(KernelPlan, TasksOfAProductAreBlocksOfItsResult) {
  const auto product = [](std::int64_t m, std::int64_t n, std::int64_t k, bool transposed) {
    Graph graph("product");
    const Expr x = input(graph, "x", f32(transposed ? Shape{k, m} : Shape{m, k}));
    const Expr y = input(graph, "y", f32({k, n}));
    graph.add_result("z", ir::matmul(transposed ? ir::transpose(x, {1, 0}) : x, y).value);
    for (const ScheduledKernel& scheduled : plan_program(graph, {}).kernels) {
      if (std::holds_alternative<Contract>(scheduled.kernel.stages[0])) {
        return cuts(scheduled.kernel);
      }
    }
    return std::map<std::string, std::int64_t>();
  };
  using Cuts = std::map<std::string, std::int64_t>;
  EXPECT_EQ(product(2048, 2048, 64, false), (Cuts{{"m", 8}, {"n", 8}}));
  EXPECT_EQ(product(2048, 256, 64, false), (Cuts{{"m", 51}})) << "rows of one stream";
  EXPECT_EQ(product(256, 1024, 2048, true), (Cuts{{"k", 2}, {"m", 2}, {"n", 3}}));
  EXPECT_EQ(product(1024, 256, 2048, true), (Cuts{{"k", 2}, {"m", 6}}));
  EXPECT_EQ(product(64, 128, 384, false), (Cuts{{"m", 1}, {"n", 2}})) << "better than one task";
  EXPECT_EQ(product(50, 64, 256, false), (Cuts{{"m", 2}}));
  // One row waits for the matrix, which comes sooner to several.
  EXPECT_EQ(product(1, 1024, 256, false), (Cuts{{"n", 8}}));
  EXPECT_EQ(product(1, 256, 256, false), (Cuts{{"n", 2}}));
}

TEST(KernelPlan, ProductsWithoutRowsHaveTasksToo) {
  const Graph graph = ir::parse_graph(R"(graph "parts"
%0 = batch "x" : f32[0,2100]
%1 = batch "w" : f32[2100,80]
%2 = dot_parts %0, %1 {lhs_contract = [1], rhs_contract = [0]} : f32[3,0,80]
"y" = %2
)");
  const Plan plan = plan_program(graph, {});
  EXPECT_TRUE(std::ranges::any_of(plan.kernels, [](const ScheduledKernel& scheduled) {
    return std::holds_alternative<Contract>(scheduled.kernel.stages[0]);
  }));
}

/// The axis of tiles over which the kernel's gradient sums up what it makes itself; empty: none.
std::string tiles_of_kernel_gradient(const Shape& image, const Shape& kernel) {
  Graph graph("convolution");
  const Expr x = input(graph, "x", f32(image));
  const Expr w = input(graph, "w", f32(kernel));
  const ir::ConvolutionAxes axes{0,
                                 3,
                                 2,
                                 3,
                                 -1,
                                 -1,
                                 {{1, 0, 1, 1, 1}, {2, 1, 1, 1, 1}},
                                 ir::ConvolutionAlgorithm::winograd_4x4};
  const Expr y = ir::conv(x, w, axes);
  graph.add_result("dw", passes::gradients(ir::sum_all(y * y), std::vector<Expr>{w})[0].value);
  for (const ScheduledKernel& scheduled : plan_program(graph, {}).kernels) {
    for (const Stage& stage : scheduled.kernel.stages) {
      const auto* contract = std::get_if<Contract>(&stage);
      if (contract == nullptr || !sums_over_tiles(scheduled.kernel, *contract)) continue;
      return scheduled.kernel.axes[static_cast<std::size_t>(scheduled.kernel.tile->axis)].name;
    }
  }
  return "";
}

TEST(KernelPlan, KernelGradientsMakeTheirTiles) {
  EXPECT_EQ(tiles_of_kernel_gradient({64, 16, 16, 32}, {3, 3, 32, 32}), "k0") << "images";
  EXPECT_EQ(tiles_of_kernel_gradient({8, 56, 56, 64}, {3, 3, 64, 64}), "k1") << "rows of tiles";
  EXPECT_EQ(tiles_of_kernel_gradient({8, 28, 28, 128}, {3, 3, 128, 128}), "") << "too many sums";
  EXPECT_EQ(tiles_of_kernel_gradient({2, 16, 16, 16}, {3, 3, 16, 16}), "") << "too few tasks";
}

}  // namespace
}  // namespace gradus::codegen
