#include "runtime/executor.h"

#include <algorithm>
#include <chrono>

#include "base/float_environment.h"

namespace gradus::runtime {
namespace {

constexpr std::int64_t kPage = 4096;  // workers' scratch blocks share no page

/// The start of `reference` within `block`, which kernels see as writable memory; only buffers
/// that a step declares as written are written.
std::byte* within(std::span<const std::byte> block, std::int64_t offset, std::int64_t bytes) {
  GRADUS_CHECK(
      offset >= 0 && bytes >= 0 && offset + bytes <= static_cast<std::int64_t>(block.size()),
      "a buffer leaves its block");
  return const_cast<std::byte*>(block.data()) + offset;
}

bool is_aligned(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % kBufferAlignment == 0;
}

}  // namespace

std::byte* Executor::resolve(const BufferReference& reference) const {
  switch (reference.space) {
    case Space::state:
      return within(state_, reference.offset, reference.bytes);
    case Space::arena:
      return within(arena_, reference.offset, reference.bytes);
    case Space::constants:
      GRADUS_CHECK(!reference.written, "a step writes a constant");
      return within(constants_, reference.offset, reference.bytes);
    case Space::input:
      break;
  }
  GRADUS_CHECK(!reference.written, "a step writes an input");
  GRADUS_CHECK(
      reference.offset >= 0 && reference.offset < static_cast<std::int64_t>(inputs_.size()),
      "no such input");
  return within(inputs_[static_cast<std::size_t>(reference.offset)], 0, reference.bytes);
}

void Executor::prepare(const Executable& executable, std::span<std::byte> state,
                       std::span<const std::span<const std::byte>> inputs) {
  GRADUS_CHECK(inputs.size() == executable.inputs.size(), "wrong number of inputs");
  GRADUS_CHECK(is_aligned(state.data()), "state off its alignment");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    GRADUS_CHECK(
        static_cast<std::int64_t>(inputs[i].size()) == executable.inputs[i].type.byte_size(),
        "wrong size of input " + executable.inputs[i].name);
    GRADUS_CHECK(is_aligned(inputs[i].data()), "input off its alignment");
  }
  state_ = state;
  constants_ = executable.constants;
  inputs_.assign(inputs.begin(), inputs.end());
  if (executable.arena_bytes > static_cast<std::int64_t>(arena_.size())) {
    arena_ = {};
    arena_ = allocate(executable.arena_bytes, "intermediate results");
  }
  if (executable.scratch_bytes > scratch_stride_) {
    const std::int64_t stride = (executable.scratch_bytes + kPage - 1) / kPage * kPage;
    scratch_ = allocate(stride * workers(), "workers' scratch");
    scratch_stride_ = stride;
  }
  faults_.assign(static_cast<std::size_t>(workers()), {});
}

FaultWord Executor::run_step(const Step& step) {
  GRADUS_CHECK(step.scratch_bytes <= scratch_stride_, "a step's scratch exceeds its executable's");
  buffers_.clear();
  for (const BufferReference& reference : step.buffers) {
    buffers_.push_back(resolve(reference));
    GRADUS_CHECK(is_aligned(buffers_.back()), "buffer off its alignment");
  }
  const auto share = [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
    step.function(buffers_.data(), scratch_.data() + worker * scratch_stride_, first, last,
                  &faults_[static_cast<std::size_t>(worker)].word);
  };
  pool_.run(step.tasks, step.most_workers(), share);
  for (const WorkerFault& fault : faults_) {
    if (fault.word != 0) return fault.word;
  }
  return 0;
}

RunResult Executor::run(const Executable& executable, std::span<std::byte> state,
                        std::span<const std::span<const std::byte>> inputs,
                        std::span<double> step_seconds) {
  using Clock = std::chrono::steady_clock;
  GRADUS_CHECK(step_seconds.empty() || step_seconds.size() == executable.steps.size(),
               "one time per step");
  prepare(executable, state, inputs);
  const FloatEnvironment environment;
  Clock::time_point before = step_seconds.empty() ? Clock::time_point{} : Clock::now();
  for (std::size_t i = 0; i < executable.steps.size(); ++i) {
    const FaultWord fault = run_step(executable.steps[i]);
    if (!step_seconds.empty()) {
      const Clock::time_point after = Clock::now();
      step_seconds[i] += std::chrono::duration<double>(after - before).count();
      before = after;
    }
    if (fault != 0) return {fault, i};
  }
  return {};
}

Tensor Executor::output(const Executable& executable, std::size_t index) const {
  const ExecutableOutput& output = executable.outputs.at(index);
  const std::byte* from = resolve(output.buffer);
  Tensor tensor = allocate_tensor(output.type, output.name);
  GRADUS_CHECK(output.buffer.bytes >= output.type.byte_size(), "output shorter than its type");
  std::copy_n(from, tensor.bytes.size(), tensor.bytes.data());
  return tensor;
}

}  // namespace gradus::runtime
