#include "tools/compare_executors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/float_environment.h"
#include "codegen/interpret_kernel.h"
#include "codegen/jit.h"
#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "runtime/executor.h"
#include "tools/subject.h"

namespace gradus::tools {
namespace {

ComparedValue compare(std::string name, const Tensor& expected, const Tensor& found) {
  ComparedValue result{std::move(name), expected.type, {}};
  dispatch(expected.type.element, [&](auto zero) {
    using T = decltype(zero);
    const auto x = expected.as<T>();
    const auto y = found.as<T>();
    for (std::size_t i = 0; i < x.size(); ++i) {
      if ((x[i] != x[i] && y[i] != y[i]) || std::memcmp(&x[i], &y[i], sizeof(T)) == 0) continue;
      result.difference =
          fmt::format("element {} is {} interpreted and {} compiled", i, x[i], y[i]);
      return;
    }
  });
  return result;
}

/// So that it shows where workers wait too little for each other.
constexpr std::int64_t kWorkers = 3;

ComparedValue compare_faults(std::string name, std::uint64_t expected, std::uint64_t found) {
  return compare(std::move(name), Tensor::scalar(ElementType::i64, expected),
                 Tensor::scalar(ElementType::i64, found));
}

std::vector<std::byte*> addresses(std::vector<Tensor>& tensors) {
  std::vector<std::byte*> result;
  for (Tensor& tensor : tensors) result.push_back(tensor.bytes.data());
  return result;
}

}  // namespace

std::vector<ComparedValue> compare_executors(const ir::Graph& graph, std::uint32_t seed,
                                             const codegen::CompileOptions& options) {
  Subject subject = random_subject(ir::copy(graph), seed);
  const ir::Interpretation expected = ir::interpret(subject.graph, inputs_by_name(subject));
  codegen::Plan plan = codegen::plan_program(subject.graph, options);
  const runtime::Executable executable = compile(plan, subject.layout, options);
  runtime::Executor executor(kWorkers);
  std::vector<std::span<const std::byte>> given;
  for (const Tensor& input : subject.inputs) given.emplace_back(input.bytes);
  const runtime::RunResult ended = executor.run(executable, subject.state, given);
  const auto kind = static_cast<std::uint64_t>(expected.fault.kind);
  std::vector<ComparedValue> values;
  if (kind != 0 || ended.fault != 0) {
    return {compare_faults("kind of fault", kind, runtime::fault_kind(ended.fault))};
  }
  for (std::size_t i = 0; i < executable.outputs.size(); ++i) {
    const std::string& name = executable.outputs[i].name;
    values.push_back(compare(name, expected.outputs.at(name), executor.output(executable, i)));
  }
  for (const auto& [name, value] : expected.updates) {
    const runtime::StateEntry* entry = subject.layout.find(name);
    Tensor found(entry->type);
    std::memcpy(found.bytes.data(), subject.state.data() + entry->offset, found.bytes.size());
    values.push_back(compare(name, value, found));
  }
  return values;
}

std::vector<ComparedValue> compare_executors(std::span<const codegen::Kernel> kernels,
                                             std::uint32_t seed, codegen::InstructionSet set) {
  const codegen::MachineCode code = codegen::compile(kernels, codegen::make_target(set), 1);
  std::vector<ComparedValue> values;
  for (std::size_t k = 0; k < kernels.size(); ++k) {
    const codegen::Kernel& kernel = kernels[k];
    std::vector<Tensor> expected;
    for (const codegen::Buffer& buffer : kernel.buffers) {
      if (buffer.role == codegen::BufferRole::scratch) continue;
      Tensor& tensor = expected.emplace_back(buffer.type);
      fill_randomly(buffer.type, {static_cast<std::uint32_t>(expected.size()), seed}, tensor.bytes);
    }
    std::vector<Tensor> found = expected;
    runtime::FaultWord expected_fault = 0;
    codegen::interpret(kernel, addresses(expected), &expected_fault);
    runtime::AlignedBytes scratch = runtime::allocate(
        std::max<std::int64_t>(code.kernels[k].scratch_bytes, 1), "the kernel's scratch");
    runtime::FaultWord found_fault = 0;
    {
      const FloatEnvironment environment;
      code.kernels[k].function(addresses(found).data(), scratch.data(), 0, kernel.task_count(),
                               &found_fault);
    }
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (kernel.buffers[i].role == codegen::BufferRole::input) continue;
      values.push_back(compare(kernel.name + " " + kernel.buffers[i].name, expected[i], found[i]));
    }
    if (expected_fault != 0 || found_fault != 0) {
      values.push_back(compare_faults(kernel.name + " fault", expected_fault, found_fault));
    }
  }
  return values;
}

}  // namespace gradus::tools
