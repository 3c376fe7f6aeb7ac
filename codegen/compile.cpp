#include "codegen/compile.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <set>

#include "base/parallel.h"
#include "codegen/chain.h"
#include "codegen/jit.h"
#include "codegen/kernel_scratch.h"
#include "ir/op.h"
#include "passes/access.h"
#include "passes/lower.h"
#include "passes/pipeline.h"
#include "passes/roots.h"

namespace gradus::codegen {
namespace {

using ir::NodeId;
using runtime::BufferReference;
using runtime::Space;

constexpr std::string_view kStoredValues = "stored_values";

class Stopwatch {
 public:
  explicit Stopwatch(std::vector<StageSeconds>& seconds) : seconds_(seconds) {}
  void lap(std::string stage) {
    const auto now = std::chrono::steady_clock::now();
    seconds_.push_back({std::move(stage), std::chrono::duration<double>(now - start_).count()});
    start_ = now;
  }

 private:
  std::vector<StageSeconds>& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A kernel that copies `type` elements from its first to its second buffer.
Kernel copy_kernel(const std::string& name, const TensorType& type) {
  Kernel kernel;
  kernel.name = name;
  const TensorType flat{type.element, {type.element_count()}};
  kernel.axes.push_back({"i", flat.shape[0], -1});
  kernel.buffers.push_back({"from", flat, BufferRole::input, {}});
  kernel.buffers.push_back({"to", flat, BufferRole::output, {}});
  const std::vector<Affine> index{{{{0, 1}}, 0, 1}};
  Loop loop;
  loop.axes = {0};
  loop.body.loads.push_back({{0, index}, {}});
  ir::ScalarBuilder builder({type.element});
  loop.body.program = builder.finish({builder.operand(0)});
  loop.stores.push_back({{1, index}, 0});
  kernel.tasks.push_back({0, {flat.shape[0], 1, 1}});
  kernel.stages.push_back(std::move(loop));
  return kernel;
}

// Copies that bring a new value to its state when it could not be written in place. A copy within
// the state goes through the arena, so that updates read the old values in any order.
void add_copies(const ir::Graph& graph, const passes::FusionPlan& fusion,
                std::vector<ScheduledKernel>& kernels) {
  std::vector<ScheduledKernel> last;
  for (const ir::Result& result : graph.results()) {
    if (!result.update) continue;
    const NodeId state = graph.find_input(result.name)->node;
    const NodeId value = passes::memory_of(graph, result.value.node);
    const auto in_place = fusion.in_place.find(value);
    if (value == state || (in_place != fusion.in_place.end() && in_place->second == state)) {
      continue;
    }
    const TensorType& type = graph.type(result.value);
    Parameter source{value};
    if (passes::access_of(graph, value) == passes::Access::leaf) {
      const Parameter station{value, kStation};
      kernels.push_back({copy_kernel(graph.name() + "_save_" + std::to_string(state), type),
                         {source, station},
                         0});
      source = station;
    }
    last.push_back({copy_kernel(graph.name() + "_update_" + std::to_string(state), type),
                    {source, {state, kUpdatedState}},
                    0});
  }
  for (ScheduledKernel& kernel : last) kernels.push_back(std::move(kernel));
}

/// Where every parameter of every kernel lives.
class Linker {
 public:
  Linker(Plan& plan, const runtime::StateLayout& layout, runtime::Executable& executable)
      : plan_(plan), layout_(layout), executable_(executable) {
    for (NodeId id : plan.graph.inputs()) {
      const ir::Attributes& attributes = plan.graph.node(id).attributes;
      if (attributes.get<std::string>("kind") == to_string(ir::InputKind::state)) continue;
      input_number_[id] = static_cast<std::int64_t>(executable.inputs.size());
      executable.inputs.push_back(
          {attributes.get<std::string>("name"), plan.graph.node(id).types[0]});
    }
    place_arena();
  }

  BufferReference locate(const Parameter& parameter, bool written) {
    const ir::Node& node = plan_.graph.node(parameter.value);
    BufferReference reference{Space::arena, 0, node.types[0].byte_size(), written};
    if (const auto arena = arena_.find(arena_key(parameter)); arena != arena_.end()) {
      reference.offset = plan_.memory.offsets[arena->second];
      reference.bytes = plan_.arena[arena->second].lifetime.bytes;
    } else if (const auto input = input_number_.find(parameter.value);
               input != input_number_.end()) {
      reference.space = Space::input;
      reference.offset = input->second;
    } else if (std::holds_alternative<ir::ConstantComputation>(node.op->compute)) {
      reference.space = Space::constants;
      reference.offset = constant(parameter.value);
    } else {
      const std::string& name =
          plan_.graph.node(state_of(parameter.value)).attributes.get<std::string>("name");
      const runtime::StateEntry* entry = layout_.find(name);
      GRADUS_CHECK(entry != nullptr, "the state layout has no entry " + name);
      reference.space = Space::state;
      reference.offset = entry->offset;
    }
    return reference;
  }

 private:
  NodeId state_of(NodeId value) const {
    const auto in_place = plan_.fusion.in_place.find(value);
    return in_place == plan_.fusion.in_place.end() ? value : in_place->second;
  }

  void place_arena() {
    plan_.arena = arena_buffers(plan_.graph, plan_.fusion, plan_.kernels, plan_.chains);
    std::vector<passes::Lifetime> lifetimes;
    for (const ArenaBuffer& buffer : plan_.arena) {
      arena_[buffer.memory] = lifetimes.size();
      lifetimes.push_back(buffer.lifetime);
    }
    plan_.memory = passes::plan_memory(lifetimes);
  }

  std::int64_t constant(NodeId id) {
    const auto known = constants_.find(id);
    if (known != constants_.end()) return known->second;
    auto& bytes = executable_.constants;
    const auto offset = static_cast<std::int64_t>(bytes.size());
    const Tensor& value = *plan_.graph.node(id).attributes.get<ir::TensorPointer>("value");
    bytes.insert(bytes.end(), value.bytes.begin(), value.bytes.end());
    constexpr std::size_t alignment = runtime::kBufferAlignment;
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    constants_[id] = offset;
    return offset;
  }

  Plan& plan_;
  const runtime::StateLayout& layout_;
  runtime::Executable& executable_;
  std::map<NodeId, std::int64_t> input_number_;
  std::map<Parameter, std::size_t> arena_;
  std::map<NodeId, std::int64_t> constants_;
};

std::vector<ScheduledKernel> schedule_group(const Plan& plan, std::size_t group,
                                            const Target& target, Tuner* tuner) {
  const auto with = [&](std::size_t number) {
    return schedule(plan.graph, plan.fusion, group, target,
                    [&](std::span<const Candidate>) { return number; });
  };
  std::vector<ScheduledKernel> first = with(0);
  if (tuner == nullptr || first.back().considered.empty()) return first;
  const std::size_t number = tuner->choose(first, with, target);
  return number == 0 ? first : with(number);
}

}  // namespace

std::vector<std::string> optional_stages() {
  std::vector<std::string> names;
  for (const passes::Pass& pass : passes::pipeline()) {
    if (!pass.needed) names.emplace_back(pass.name);
  }
  names.emplace_back(kStoredValues);
  names.emplace_back(kChains);
  return names;
}

Plan plan_program(const ir::Graph& graph, const CompileOptions& options) {
  std::vector<StageSeconds> seconds;
  Stopwatch watch(seconds);
  passes::PipelineOptions pipeline;
  pipeline.disabled = options.without;
  Plan plan{passes::run_pipeline(graph, pipeline), {}, {}, {}, {}, {}, {}, 0, 0};
  watch.lap("passes");
  const bool store = options.store_values && !options.without.contains(kStoredValues);
  plan.fusion = passes::fuse(plan.graph, {options.fuse, store});
  watch.lap("fusion");
  const Target target = make_target(options.set);
  std::vector<std::vector<ScheduledKernel>> scheduled(plan.fusion.groups.size());
  // Nothing else runs while the tuner measures.
  const int threads = options.tuner == nullptr ? options.threads : 1;
  for_each_parallel(scheduled.size(), threads, [&](std::size_t group) {
    scheduled[group] = schedule_group(plan, group, target, options.tuner);
  });
  for (std::vector<ScheduledKernel>& kernels : scheduled) {
    std::ranges::move(kernels, std::back_inserter(plan.kernels));
  }
  add_copies(plan.graph, plan.fusion, plan.kernels);
  watch.lap("schedule");
  if (options.fuse && !options.without.contains(kChains)) {
    plan.chains = chain_kernels(plan.graph, plan.fusion, plan.kernels);
  }
  watch.lap("chains");
  plan.seconds = std::move(seconds);
  return plan;
}

runtime::Executable place(Plan& plan, const runtime::StateLayout& layout) {
  runtime::Executable executable;
  executable.name = plan.graph.name();
  executable.chains = plan.chains;
  Linker linker(plan, layout, executable);
  for (const ScheduledKernel& scheduled : plan.kernels) {
    const Kernel& kernel = scheduled.kernel;
    runtime::Step step{kernel.name, kernel.provenance,   nullptr, {}, kernel.task_count(),
                       0,           scheduled.operations};
    for (std::size_t b = 0; b < scheduled.parameters.size(); ++b) {
      step.buffers.push_back(
          linker.locate(scheduled.parameters[b], kernel.buffers[b].role != BufferRole::input));
    }
    executable.steps.push_back(std::move(step));
  }
  for (const ir::Result& result : plan.graph.results()) {
    if (result.update) continue;
    const Parameter memory{passes::memory_of(plan.graph, result.value.node)};
    executable.outputs.push_back(
        {result.name, plan.graph.type(result.value), linker.locate(memory, false)});
  }
  executable.arena_bytes = plan.memory.peak_bytes;
  for (const ScheduledKernel& kernel : plan.kernels) {
    executable.scratch_bytes = std::max(executable.scratch_bytes, expected_scratch(kernel.kernel));
  }
  return executable;
}

runtime::Executable compile(Plan& plan, const runtime::StateLayout& layout,
                            const CompileOptions& options) {
  Stopwatch watch(plan.seconds);
  runtime::Executable executable = place(plan, layout);
  watch.lap("memory");
  std::vector<Kernel> kernels;
  for (const ScheduledKernel& kernel : plan.kernels) kernels.push_back(kernel.kernel);
  MachineCode code = codegen::compile(std::span<const Kernel>(kernels), make_target(options.set),
                                      options.threads, options.store, options.debug);
  plan.cached_modules = code.report.cached_modules;
  plan.compiled_modules = code.report.compiled_modules;
  watch.lap("machine code");
  executable.scratch_bytes = 0;
  for (std::size_t i = 0; i < executable.steps.size(); ++i) {
    runtime::Step& step = executable.steps[i];
    step.function = code.kernels[i].function;
    step.scratch_bytes = code.kernels[i].scratch_bytes;
    executable.scratch_bytes = std::max(executable.scratch_bytes, step.scratch_bytes);
  }
  executable.code = std::move(code.code);
  return executable;
}

}  // namespace gradus::codegen
