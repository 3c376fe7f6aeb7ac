// Every executor gives the interpreter's bits: fused and unfused kernels, every instruction set of
// this machine, one to four threads, and the kernel interpreter.

#include <gtest/gtest.h>

#include <cstring>

#include "base/overloaded.h"
#include "base/philox.h"
#include "codegen/compile.h"
#include "ir/expr.h"
#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/text.h"
#include "passes/differentiate.h"
#include "runtime/executor.h"

namespace gradus {
namespace {

using ir::Expr;

/// Numbers of any type; floats in [low, high), integers truncated from them, bools by halves.
Tensor random_tensor(const TensorType& type, std::uint32_t seed, double low, double high) {
  Tensor tensor(type);
  dispatch(type.element, [&](auto zero) {
    using T = decltype(zero);
    std::uint32_t i = 0;
    for (T& value : tensor.as<T>()) {
      const double u = philox4x32({i++, seed, 0, 0}, {1, 2})[0] / 0x1p32;
      if constexpr (std::is_same_v<T, bool>) {
        value = u < 0.5;
      } else {
        value = static_cast<T>(low + u * (high - low));
      }
    }
  });
  return tensor;
}

bool same(const Tensor& a, const Tensor& b) {
  if (a.type != b.type) return false;
  return dispatch(a.type.element, [&](auto zero) {
    using T = decltype(zero);
    for (std::size_t i = 0; i < a.as<T>().size(); ++i) {
      const T x = a.as<T>()[i];
      const T y = b.as<T>()[i];
      if constexpr (std::is_floating_point_v<T>) {
        if (x != x && y != y) continue;
      }
      if (std::memcmp(&x, &y, sizeof(T)) != 0) return false;
    }
    return true;
  });
}

using Inputs = std::map<std::string, Tensor>;

/// Runs the graph through kernels; outputs and updates by name.
ir::Interpretation run(const ir::Graph& graph, const Inputs& inputs,
                       const codegen::CompileOptions& options, int threads) {
  runtime::StateLayout layout;
  for (ir::NodeId id : graph.inputs()) {
    const ir::Node& node = graph.node(id);
    if (node.attributes.get<std::string>("kind") == "state") {
      layout.add(node.attributes.get<std::string>("name"), node.types[0],
                 runtime::StateKind::parameter);
    }
  }
  codegen::Plan plan = codegen::plan_program(graph, options);
  const runtime::Executable executable = codegen::compile(plan, layout, options);
  runtime::AlignedBytes state = runtime::allocate(std::max<std::int64_t>(layout.bytes, 64), "state");
  for (const runtime::StateEntry& entry : layout.entries) {
    const Tensor& value = inputs.at(entry.name);
    std::memcpy(state.data() + entry.offset, value.bytes.data(), value.bytes.size());
  }
  std::vector<std::span<const std::byte>> given;
  for (const runtime::ExecutableInput& input : executable.inputs) {
    given.emplace_back(inputs.at(input.name).bytes);
  }
  runtime::Executor executor(threads);
  const runtime::RunResult ended = executor.run(executable, state, given);
  ir::Interpretation result;
  result.fault.kind = static_cast<ir::FaultKind>(ended.fault >> 56);
  for (std::size_t i = 0; i < executable.outputs.size(); ++i) {
    result.outputs[executable.outputs[i].name] = executor.output(executable, i);
  }
  for (const ir::Result& r : graph.results()) {
    if (!r.update) continue;
    const runtime::StateEntry* entry = layout.find(r.name);
    Tensor value(entry->type);
    std::memcpy(value.bytes.data(), state.data() + entry->offset, value.bytes.size());
    result.updates[r.name] = value;
  }
  return result;
}

void expect_same(const ir::Interpretation& expected, const ir::Interpretation& found,
                 const std::string& what) {
  for (const auto& [name, value] : expected.outputs) {
    EXPECT_TRUE(same(value, found.outputs.at(name))) << what << ": output " << name;
  }
  for (const auto& [name, value] : expected.updates) {
    EXPECT_TRUE(same(value, found.updates.at(name))) << what << ": update " << name;
  }
}

void check_all_executors(const ir::Graph& graph, const Inputs& inputs) {
  const ir::Interpretation expected = ir::interpret(graph, inputs);
  for (codegen::InstructionSet set : codegen::kInstructionSets) {
    if (!codegen::host_supports(set)) continue;
    for (bool fuse : {true, false}) {
      codegen::CompileOptions options;
      options.set = set;
      options.fuse = fuse;
      const std::string what = std::string(to_string(set)) + (fuse ? " fused" : " unfused");
      expect_same(expected, run(graph, inputs, options, 1), what);
      if (fuse && set == codegen::InstructionSet::native) {
        expect_same(expected, run(graph, inputs, options, 3), what + " 3 threads");
      }
    }
  }
}

TEST(Executors, EveryOpOnEveryInstructionSet) {
  for (const ir::OpRecord& op : ir::op_records()) {
    EXPECT_FALSE(op.doc.empty()) << op.name;
    ASSERT_FALSE(op.examples.empty()) << op.name << " has no example";
    for (const ir::OpExample& example : op.examples) {
      if (op.name == "input" || op.name == "constant") continue;
      SCOPED_TRACE(std::string(op.name) + " " + std::string(example.attributes));
      ir::Graph graph("example");
      std::vector<ir::Value> operands;
      Inputs inputs;
      for (std::size_t i = 0; i < example.operands.size(); ++i) {
        const TensorType type = *parse_tensor_type(example.operands[i]);
        const std::string name = "x" + std::to_string(i);
        operands.push_back(graph.add_input(name, ir::InputKind::batch, type));
        inputs[name] = random_tensor(type, static_cast<std::uint32_t>(i), example.low, example.high);
      }
      const ir::NodeId id =
          graph.add(op, operands, parse_attributes(op, example.attributes));
      graph.add_result("y", {id, 0});
      check_all_executors(graph, inputs);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(Executors, FirstGradientsOfEveryOpMatchDifferences) {
  for (const ir::OpRecord& op : ir::op_records()) {
    if (!op.vjp) continue;
    for (const ir::OpExample& example : op.examples) {
      SCOPED_TRACE(std::string(op.name) + " " + std::string(example.attributes));
      ir::Graph graph("gradient");
      std::vector<Expr> floats;
      std::vector<ir::Value> operands;
      Inputs inputs;
      for (std::size_t i = 0; i < example.operands.size(); ++i) {
        TensorType type = *parse_tensor_type(example.operands[i]);
        if (type.element == ElementType::f32) type.element = ElementType::f64;
        const std::string name = "x" + std::to_string(i);
        operands.push_back(graph.add_input(name, ir::InputKind::batch, type));
        if (type.element == ElementType::f64) floats.push_back({&graph, operands.back()});
        inputs[name] =
            random_tensor(type, static_cast<std::uint32_t>(17 + i), example.low, example.high);
      }
      const bool casts = op.name == "cast";
      if (floats.empty() || casts) continue;
      const Expr y{&graph, {graph.add(op, operands, parse_attributes(op, example.attributes)), 0}};
      if (y.element() != ElementType::f64) continue;
      Tensor weights = random_tensor(y.type(), 99, -1, 1);
      const Expr loss = ir::sum_all(y * ir::constant(graph, weights));
      const std::vector<Expr> gradients = passes::gradients(loss, floats);
      graph.add_result("loss", loss.value);
      for (std::size_t i = 0; i < gradients.size(); ++i) {
        graph.add_result("d" + std::to_string(i), gradients[i].value);
      }
      const ir::Interpretation exact = ir::interpret(graph, inputs);
      for (std::size_t i = 0; i < floats.size(); ++i) {
        const std::string name =
            graph.node(floats[i].value.node).attributes.get<std::string>("name");
        for (std::size_t e = 0; e < inputs[name].as<double>().size(); ++e) {
          const double h = 1e-5;
          Inputs up = inputs;
          Inputs down = inputs;
          up[name].as<double>()[e] += h;
          down[name].as<double>()[e] -= h;
          const double difference = (ir::interpret(graph, up).outputs.at("loss").as<double>()[0] -
                                     ir::interpret(graph, down).outputs.at("loss").as<double>()[0]) /
                                    (2 * h);
          const double gradient = exact.outputs.at("d" + std::to_string(i)).as<double>()[e];
          EXPECT_NEAR(gradient, difference, 1e-4 * (1 + std::abs(difference))) << name << " " << e;
        }
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace gradus
