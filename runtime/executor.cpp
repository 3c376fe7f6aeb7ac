#include "runtime/executor.h"

#include <algorithm>
#include <chrono>

#include "base/float_environment.h"

namespace gradus::runtime {
namespace {

using Clock = std::chrono::steady_clock;

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

std::byte* Executor::resolve(const BufferReference& reference, std::int64_t iteration) const {
  const std::int64_t moved = reference.begin + iteration * reference.stride;
  switch (reference.space) {
    case Space::state:
      return within(state_, reference.offset + moved, reference.bytes);
    case Space::arena:
      return within(arena_, reference.offset + moved, reference.bytes);
    case Space::constants:
      GRADUS_CHECK(!reference.written, "a step writes a constant");
      return within(constants_, reference.offset + moved, reference.bytes);
    case Space::input:
      break;
  }
  GRADUS_CHECK(!reference.written, "a step writes an input");
  GRADUS_CHECK(
      reference.offset >= 0 && reference.offset < static_cast<std::int64_t>(inputs_.size()),
      "no such input");
  return within(inputs_[static_cast<std::size_t>(reference.offset)], moved, reference.bytes);
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
    scratch_ = allocate(executable.all_scratch(workers()), "workers' scratch");
    scratch_stride_ = executable.scratch_stride();
  }
  reports_.assign(static_cast<std::size_t>(workers()), {});
}

void Executor::resolve_buffers(std::span<const Step> steps, std::int64_t iteration) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    GRADUS_CHECK(steps[i].scratch_bytes <= scratch_stride_,
                 "a step's scratch exceeds its executable's");
    buffers_[i].clear();
    for (const BufferReference& reference : steps[i].buffers) {
      buffers_[i].push_back(resolve(reference, iteration));
      GRADUS_CHECK(reference.stride != 0 || is_aligned(buffers_[i].back()),
                   "buffer off its alignment");
    }
  }
}

RunResult Executor::run_chain(const Executable& executable, const Turn& turn, bool timed) {
  const Chain& chain = turn.chain;
  GRADUS_CHECK(chain.count <= kLongestChain && chain.first + chain.count <= executable.steps.size(),
               "a chain leaves the steps");
  const std::span steps = std::span(executable.steps).subspan(chain.first, chain.count);
  if (turn.iterations > 1) resolve_buffers(steps, turn.iteration + turn.iterations - 1);
  resolve_buffers(steps, turn.iteration);
  std::int64_t most = 1;
  for (const Step& step : steps) {
    GRADUS_CHECK(chain.count == 1 || step.tasks % chain.units == 0, "units do not share the tasks");
    most = std::max(most, step.most_workers(turn.iterations));
  }
  // Each worker moves its own; what is allocated here is not on a worker, where nothing can throw.
  if (turn.iterations > 1) moving_.assign(static_cast<std::size_t>(workers()), buffers_);
  pool_.run(chain.units, most, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
    run_units(steps, turn, worker, first, last, timed);
  });
  return first_fault(chain);
}

/// A worker's share of a turn.
void Executor::run_units(std::span<const Step> steps, const Turn& turn, std::int64_t worker,
                         std::int64_t first, std::int64_t last, bool timed) {
  WorkerReport& report = reports_[static_cast<std::size_t>(worker)];
  std::byte* scratch = scratch_.data() + kScratchMargin + worker * scratch_stride_;
  const bool moves = turn.iterations > 1;
  Buffers& buffers = moves ? moving_[static_cast<std::size_t>(worker)] : buffers_;
  Clock::time_point before = timed ? Clock::now() : Clock::time_point{};
  const std::int64_t at_once = steps.size() == 1 ? last - first : 1;
  for (std::int64_t iteration = 0; iteration < turn.iterations; ++iteration) {
    for (std::int64_t unit = first; unit < last; unit += at_once) {
      for (std::size_t i = 0; i < steps.size(); ++i) {
        const std::int64_t per_unit = steps[i].tasks / turn.chain.units;
        const bool fine = report.faults[i] == 0;
        steps[i].function(buffers[i].data(), scratch, unit * per_unit, (unit + at_once) * per_unit,
                          &report.faults[i]);
        if (fine) report.iterations[i] = iteration;
        if (!timed) continue;
        const Clock::time_point after = Clock::now();
        report.seconds[i] += std::chrono::duration<double>(after - before).count();
        before = after;
      }
    }
    for (std::size_t i = 0; moves && i < steps.size(); ++i) {
      for (std::size_t b = 0; b < buffers[i].size(); ++b) {
        buffers[i][b] += steps[i].buffers[b].stride;
      }
    }
  }
}

/// The fault of the earliest iteration, of its first step, of the lowest worker.
RunResult Executor::first_fault(const Chain& chain) const {
  RunResult result;
  std::int64_t earliest = 0;
  for (std::size_t i = 0; i < chain.count; ++i) {
    for (const WorkerReport& report : reports_) {
      if (report.faults[i] == 0) continue;
      if (result.fault != 0 && report.iterations[i] >= earliest) continue;
      earliest = report.iterations[i];
      result = {report.faults[i], chain.first + i};
    }
  }
  return result;
}

/// Adds the chain's wall time to its steps.
void Executor::add_seconds(const Chain& chain, double seconds, std::span<double> step_seconds) {
  std::array<double, kLongestChain> work{};
  double whole = 0;
  for (WorkerReport& report : reports_) {
    for (std::size_t i = 0; i < chain.count; ++i) {
      work[i] += report.seconds[i];
      whole += report.seconds[i];
    }
    report.seconds = {};
  }
  for (std::size_t i = 0; i < chain.count; ++i) {
    step_seconds[chain.first + i] += whole > 0 ? seconds * work[i] / whole : 0;
  }
}

RunResult Executor::run(const Executable& executable, std::span<std::byte> state,
                        std::span<const std::span<const std::byte>> inputs,
                        std::span<double> step_seconds) {
  const bool timed = !step_seconds.empty();
  GRADUS_CHECK(!timed || step_seconds.size() == executable.steps.size(), "one time per step");
  prepare(executable, state, inputs);
  const FloatEnvironment environment;
  Clock::time_point before = timed ? Clock::now() : Clock::time_point{};
  for (Turns turns(executable); !turns.at_end(); turns.advance()) {
    const RunResult result = run_chain(executable, *turns, timed);
    if (timed) {
      const Clock::time_point after = Clock::now();
      add_seconds(turns->chain, std::chrono::duration<double>(after - before).count(),
                  step_seconds);
      before = after;
    }
    if (result.fault != 0) return result;
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
