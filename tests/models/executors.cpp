#include "tests/models/executors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/philox.h"
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

}  // namespace gradus
