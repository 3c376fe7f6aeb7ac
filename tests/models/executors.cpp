#include "tests/models/executors.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/philox.h"
#include "codegen/interpret_kernel.h"
#include "ir/op.h"
#include "runtime/executor.h"

namespace gradus {

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

namespace {

/// A compiled program with its state and inputs.
struct Compiled {
  runtime::StateLayout layout;
  codegen::Plan plan;
  runtime::Executable executable;
  runtime::AlignedBytes state;
  std::vector<std::span<const std::byte>> inputs;

  Compiled(const ir::Graph& graph, const Inputs& values, const codegen::CompileOptions& options,
           bool least_memory = false)
      : plan(codegen::plan_program(graph, options)) {
    if (least_memory) {
      plan.chains.clear();
      plan.kernels = codegen::run_again(plan.graph, plan.fusion, plan.kernels, 1);
    }
    for (ir::NodeId id : graph.inputs()) {
      const ir::Node& node = graph.node(id);
      if (node.attributes.get<std::string>("kind") == "state") {
        layout.add(node.attributes.get<std::string>("name"), node.types[0],
                   runtime::StateKind::parameter);
      }
    }
    executable = codegen::compile(plan, layout, options);
    state = runtime::allocate(std::max<std::int64_t>(layout.bytes, 64), "state");
    for (const runtime::StateEntry& entry : layout.entries) {
      const Tensor& value = values.at(entry.name);
      std::memcpy(state.data() + entry.offset, value.bytes.data(), value.bytes.size());
    }
    for (const runtime::ExecutableInput& input : executable.inputs) {
      inputs.emplace_back(values.at(input.name).bytes);
    }
  }

  void add_updates(const ir::Graph& graph, ir::Interpretation& result) const {
    for (const ir::Result& r : graph.results()) {
      if (!r.update) continue;
      const runtime::StateEntry* entry = layout.find(r.name);
      Tensor value(entry->type);
      std::memcpy(value.bytes.data(), state.data() + entry->offset, value.bytes.size());
      result.updates[r.name] = value;
    }
  }
};

}  // namespace

ir::Interpretation run(const ir::Graph& graph, const Inputs& inputs,
                       const codegen::CompileOptions& options, int threads, bool least_memory) {
  Compiled program(graph, inputs, options, least_memory);
  runtime::Executor executor(threads);
  const runtime::RunResult ended = executor.run(program.executable, program.state, program.inputs);
  ir::Interpretation result;
  result.fault.kind = static_cast<ir::FaultKind>(ended.fault >> 56);
  for (std::size_t i = 0; i < program.executable.outputs.size(); ++i) {
    result.outputs[program.executable.outputs[i].name] = executor.output(program.executable, i);
  }
  program.add_updates(graph, result);
  return result;
}

ir::Interpretation interpret_kernels(const ir::Graph& graph, const Inputs& inputs,
                                     codegen::Tuner* tuner) {
  codegen::CompileOptions options;
  options.tuner = tuner;
  Compiled program(graph, inputs, options);
  runtime::Executable& executable = program.executable;
  std::vector<std::byte> arena(static_cast<std::size_t>(executable.arena_bytes));
  const auto memory = [&](const runtime::BufferReference& reference, std::int64_t iteration = 0) {
    const auto offset = static_cast<std::size_t>(reference.offset);
    const std::int64_t moved = reference.begin + iteration * reference.stride;
    switch (reference.space) {
      case runtime::Space::arena:
        return arena.data() + offset + moved;
      case runtime::Space::state:
        return program.state.data() + offset + moved;
      case runtime::Space::constants:
        return executable.constants.data() + offset + moved;
      case runtime::Space::input:
        break;
    }
    return const_cast<std::byte*>(program.inputs[offset].data()) + moved;
  };
  runtime::FaultWord fault = 0;
  for (runtime::Turns turns(executable); !turns.at_end() && fault == 0; turns.advance()) {
    for (std::int64_t iteration = 0; iteration < turns->iterations; ++iteration) {
      const runtime::Chain& chain = turns->chain;
      for (std::size_t i = chain.first; i < chain.first + chain.count && fault == 0; ++i) {
        std::vector<std::byte*> buffers;
        for (const auto& reference : executable.steps[i].buffers) {
          buffers.push_back(memory(reference, turns->iteration + iteration));
        }
        codegen::interpret(program.plan.kernels[i].kernel, buffers, &fault);
      }
    }
  }
  ir::Interpretation result;
  result.fault.kind = static_cast<ir::FaultKind>(fault >> 56);
  for (const runtime::ExecutableOutput& output : executable.outputs) {
    Tensor value(output.type);
    std::memcpy(value.bytes.data(), memory(output.buffer), value.bytes.size());
    result.outputs[output.name] = value;
  }
  program.add_updates(graph, result);
  return result;
}

namespace {

/// The first element that is not the same.
std::string first_difference(const Tensor& a, const Tensor& b) {
  if (a.type != b.type) return to_string(a.type) + " and " + to_string(b.type);
  return dispatch(a.type.element, [&](auto zero) {
    using T = decltype(zero);
    std::size_t i = 0;
    const auto differ = [&] {
      const T x = a.as<T>()[i], y = b.as<T>()[i];
      return std::memcmp(&x, &y, sizeof(T)) != 0 && (x == x || y == y);
    };
    while (i < a.as<T>().size() && !differ()) ++i;
    if (i == a.as<T>().size()) return std::string("none");
    return fmt::format("element {}: {} and {}", i, a.as<T>()[i], b.as<T>()[i]);
  });
}

}  // namespace

void expect_same(const ir::Interpretation& expected, const ir::Interpretation& found,
                 const std::string& what) {
  for (const auto& [name, value] : expected.outputs) {
    EXPECT_TRUE(same(value, found.outputs.at(name)))
        << what << ": output " << name << ", " << first_difference(value, found.outputs.at(name));
  }
  for (const auto& [name, value] : expected.updates) {
    EXPECT_TRUE(same(value, found.updates.at(name)))
        << what << ": update " << name << ", " << first_difference(value, found.updates.at(name));
  }
}

}  // namespace gradus
