#include "codegen/arena.h"

#include <algorithm>
#include <variant>

#include "codegen/loop_kernels.h"
#include "ir/op.h"
#include "passes/access.h"
#include "passes/rematerialise.h"
#include "passes/roots.h"

namespace gradus::codegen {

using ir::NodeId;

bool in_arena(const ir::Graph& graph, const passes::FusionPlan& fusion,
              const Parameter& parameter) {
  if (parameter.panel > 0 || parameter.panel == kStation) return true;
  if (parameter.panel == kLoopValue || parameter.panel == kLoopCarried) return true;
  if (parameter.panel == kUpdatedState) return false;
  const auto& computation = graph.node(parameter.value).op->compute;
  if (std::holds_alternative<ir::ResultComputation>(computation)) return true;
  return passes::access_of(graph, parameter.value) != passes::Access::leaf &&
         !fusion.in_place.contains(parameter.value);
}

Parameter output_memory(const ir::Graph& graph, const ir::Result& result) {
  const NodeId value = passes::memory_of(graph, result.value.node);
  const bool overwritten = std::ranges::any_of(graph.results(), [&](const ir::Result& other) {
    return other.update && graph.find_input(other.name)->node == value &&
           passes::memory_of(graph, other.value.node) != value;
  });
  return overwritten ? Parameter{value, kStation} : Parameter{value};
}

namespace {

/// The input whose memory `value` is, or is written to.
NodeId state_of(const passes::FusionPlan& fusion, NodeId value) {
  const auto in_place = fusion.in_place.find(value);
  return in_place == fusion.in_place.end() ? value : in_place->second;
}

void add(std::vector<std::size_t>& numbers, std::size_t number) {
  if (std::ranges::find(numbers, number) == numbers.end()) numbers.push_back(number);
}

/// The kernels as `rematerialise` sees them.
class StepView {
 public:
  StepView(const ir::Graph& graph, const passes::FusionPlan& fusion,
           const std::vector<ScheduledKernel>& kernels)
      : graph_(graph), fusion_(fusion) {
    for (const ArenaBuffer& buffer : arena_buffers(graph, fusion, kernels)) {
      numbers_[buffer.memory] = program_.buffers.size();
      const bool kept = buffer.lifetime.last == static_cast<std::int64_t>(kernels.size());
      program_.buffers.push_back({buffer.lifetime.bytes, kept, buffer.memory.panel > 0});
    }
    for (const ScheduledKernel& kernel : kernels) add_step(kernel);
  }

  [[nodiscard]] const passes::MemoryProgram& program() const { return program_; }

  /// The kernel as a later run of it: with other copies of its buffers.
  [[nodiscard]] ScheduledKernel instance(const ScheduledKernel& kernel,
                                         const passes::StepInstance& instance) const {
    ScheduledKernel result = kernel;
    for (Parameter& parameter : result.parameters) {
      const auto number = numbers_.find(arena_key(parameter));
      if (number == numbers_.end() || !in_arena(graph_, fusion_, parameter)) continue;
      const auto copy = instance.copies.find(number->second);
      if (copy != instance.copies.end()) parameter.copy = copy->second;
    }
    return result;
  }

 private:
  void add_step(const ScheduledKernel& kernel) {
    passes::MemoryStep& step = program_.steps.emplace_back();
    step.operations = kernel.operations;
    step.contraction = std::ranges::any_of(kernel.kernel.stages, [](const Stage& stage) {
      return std::holds_alternative<Contract>(stage);
    });
    for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
      const Parameter& parameter = kernel.parameters[i];
      const bool written = kernel.kernel.buffers[i].role != BufferRole::input;
      if (in_arena(graph_, fusion_, parameter)) {
        add(written ? step.writes : step.reads, numbers_.at(arena_key(parameter)));
      } else {
        const NodeId state = state_of(fusion_, parameter.value);
        add(written ? step.state_writes : step.state_reads, state);
        if (written) add(step.state_reads, state);
      }
    }
    // A buffer in several shapes may be both; what a step makes itself it need not find.
    std::erase_if(step.reads, [&](std::size_t number) {
      return std::ranges::find(step.writes, number) != step.writes.end();
    });
  }

  const ir::Graph& graph_;
  const passes::FusionPlan& fusion_;
  std::map<Parameter, std::size_t> numbers_;
  passes::MemoryProgram program_;
};

passes::MemoryPlan memory_of_arena(const ir::Graph& graph, const passes::FusionPlan& fusion,
                                   const std::vector<ScheduledKernel>& kernels) {
  std::vector<passes::Lifetime> lifetimes;
  for (const ArenaBuffer& buffer : arena_buffers(graph, fusion, kernels)) {
    lifetimes.push_back(buffer.lifetime);
  }
  return passes::plan_memory(lifetimes);
}

}  // namespace

Parameter arena_key(Parameter parameter) {
  if (parameter.panel <= 0) parameter.packed_for = 0;
  return parameter;
}

Parameter memory_key(const ir::Graph& graph, const passes::FusionPlan& fusion,
                     const Parameter& parameter) {
  if (in_arena(graph, fusion, parameter)) return arena_key(parameter);
  return {state_of(fusion, parameter.value)};
}

std::vector<ArenaBuffer> arena_buffers(const ir::Graph& graph, const passes::FusionPlan& fusion,
                                       const std::vector<ScheduledKernel>& kernels,
                                       std::span<const runtime::Chain> chains,
                                       std::span<const runtime::Loop> loops) {
  std::map<Parameter, std::size_t> numbers;
  std::vector<ArenaBuffer> buffers;
  std::int64_t step = 0;
  for (const ScheduledKernel& kernel : kernels) {
    for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
      const Parameter& parameter = kernel.parameters[i];
      if (!in_arena(graph, fusion, parameter)) continue;
      const Parameter memory = arena_key(parameter);
      std::int64_t bytes = kernel.kernel.buffers[i].type.byte_size();
      if (parameter == Parameter{parameter.value}) {  // the kernel may see a slice
        bytes = std::max(bytes, graph.node(parameter.value).types[0].byte_size());
      }
      const auto [at, added] = numbers.emplace(memory, buffers.size());
      if (added) buffers.push_back({memory, {bytes, step, step}});
      passes::Lifetime& lifetime = buffers[at->second].lifetime;
      lifetime.last = step;
      lifetime.bytes = std::max(lifetime.bytes, bytes);
    }
    ++step;
  }
  for (ArenaBuffer& buffer : buffers) {
    const auto widen = [&](std::size_t begin, std::size_t count) {
      const auto first = static_cast<std::int64_t>(begin);
      const auto last = static_cast<std::int64_t>(begin + count) - 1;
      passes::Lifetime& lifetime = buffer.lifetime;
      if (first <= lifetime.first && lifetime.first <= last) lifetime.first = first;
      if (first <= lifetime.last && lifetime.last <= last) lifetime.last = last;
    };
    for (const runtime::Chain& chain : chains) widen(chain.first, chain.count);
    for (const runtime::Loop& loop : loops) {
      if (buffer.memory.panel != kLoopValue) widen(loop.first, loop.count);
    }
  }
  for (const ir::Result& result : graph.results()) {
    if (result.update) continue;
    const auto at = numbers.find(output_memory(graph, result));
    if (at != numbers.end()) buffers[at->second].lifetime.last = step;
  }
  return buffers;
}

std::vector<ScheduledKernel> run_again(const ir::Graph& graph, const passes::FusionPlan& fusion,
                                       const std::vector<ScheduledKernel>& kernels,
                                       std::int64_t bytes) {
  const bool loops = std::ranges::any_of(
      kernels, [](const ScheduledKernel& kernel) { return !kernel.slides.empty(); });
  if (loops) return kernels;
  const StepView view(graph, fusion, kernels);
  std::vector<ScheduledKernel> best = kernels;
  std::int64_t least = memory_of_arena(graph, fusion, kernels).peak_bytes;
  // Where the arena is larger than what is alive, less must be alive.
  for (std::int64_t target = bytes; target > 0;) {
    std::vector<ScheduledKernel> runs;
    for (const passes::StepInstance& instance : rematerialise(view.program(), target)) {
      runs.push_back(view.instance(kernels[instance.step], instance));
    }
    const passes::MemoryPlan plan = memory_of_arena(graph, fusion, runs);
    if (plan.peak_bytes < least) {
      least = plan.peak_bytes;
      best = std::move(runs);
    }
    if (plan.peak_bytes <= bytes || plan.lower_bound_bytes > target) break;
    target = std::min(target, plan.lower_bound_bytes) - (plan.peak_bytes - bytes);
  }
  return best;
}

}  // namespace gradus::codegen
