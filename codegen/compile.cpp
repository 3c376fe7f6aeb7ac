#include "codegen/compile.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "base/parallel.h"
#include "base/stopwatch.h"
#include "codegen/chain.h"
#include "codegen/copy_kernel.h"
#include "codegen/fold_copies.h"
#include "codegen/jit.h"
#include "codegen/kernel_scratch.h"
#include "codegen/loop_kernels.h"
#include "ir/op.h"
#include "ir/scan.h"
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
constexpr std::string_view kFoldedCopies = "folded_copies";

/// Times stages one after another.
class StageClock {
 public:
  explicit StageClock(std::vector<StageSeconds>& seconds) : seconds_(seconds) {}
  void lap(std::string stage) {
    seconds_.push_back({std::move(stage), std::exchange(watch_, {}).seconds()});
  }

 private:
  std::vector<StageSeconds>& seconds_;
  Stopwatch watch_;
};

/// The kernels that bring new values to their states when these could not be written in place.
class UpdateCopies {
 public:
  /// The graph is that of a program or, `in_loop`, the body of a loop.
  UpdateCopies(const ir::Graph& graph, const passes::FusionPlan& fusion, bool in_loop,
               std::vector<ScheduledKernel>& kernels)
      : graph_(graph), fusion_(fusion), in_loop_(in_loop), kernels_(kernels) {}

  /// Results of a loop's body are brought to their stacks by the loop.
  void append() {
    for (const ir::Result& result : graph_.results()) {
      if (result.update) {
        bring(result);
      } else if (in_loop_) {
        continue;
      } else if (const Parameter memory = output_memory(graph_, result); memory.panel == kStation) {
        save(memory.value, updated(memory.value));
      }
    }
    std::ranges::move(last_, std::back_inserter(kernels_));
  }

 private:
  void bring(const ir::Result& result) {
    const NodeId state = graph_.find_input(result.name)->node;
    const NodeId value = passes::memory_of(graph_, result.value.node);
    const auto in_place = fusion_.in_place.find(value);
    if (value == state || (in_place != fusion_.in_place.end() && in_place->second == state)) return;
    const bool leaf = passes::access_of(graph_, value) == passes::Access::leaf;
    const Parameter source = leaf ? save(value, result) : Parameter{value};
    last_.push_back({copy("update", state, result), {source, {state, kUpdatedState}}, 0});
  }

  /// A copy within the state goes through the arena, so that updates read the old values in any
  /// order.
  Parameter save(NodeId value, const ir::Result& wanted) {
    const Parameter station{value, kStation};
    if (saved_.insert(value).second) {
      kernels_.push_back({copy("save", value, wanted), {{value}, station}, 0});
    }
    return station;
  }

  /// The update that a state gets.
  [[nodiscard]] const ir::Result& updated(NodeId state) const {
    const auto update = std::ranges::find_if(graph_.results(), [&](const ir::Result& result) {
      return result.update && graph_.find_input(result.name)->node == state;
    });
    GRADUS_CHECK(update != graph_.results().end(), "what is kept apart is updated");
    return *update;
  }

  [[nodiscard]] Kernel copy(std::string_view what, NodeId number, const ir::Result& result) const {
    Kernel kernel = copy_kernel(fmt::format("{}_{}_{}", graph_.name(), what, number),
                                graph_.type(result.value), in_loop_);
    kernel.provenance = to_string(graph_.node(result.value.node).provenance);
    return kernel;
  }

  const ir::Graph& graph_;
  const passes::FusionPlan& fusion_;
  bool in_loop_;
  std::vector<ScheduledKernel>& kernels_;
  std::vector<ScheduledKernel> last_;
  std::set<NodeId> saved_;
};

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
    BufferReference reference{Space::arena, 0, node.types[0].byte_size(), written, 0, 0};
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
    plan_.arena =
        arena_buffers(plan_.graph, plan_.fusion, plan_.kernels, plan_.chains, plan_.loops);
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
                                            std::int64_t loop_length, const Target& target,
                                            Tuner* tuner) {
  const auto with = [&](std::size_t number) {
    return schedule(
        plan.graph, plan.fusion, group, target, [&](std::span<const Candidate>) { return number; },
        loop_length);
  };
  std::vector<ScheduledKernel> first = with(0);
  if (tuner == nullptr || first.back().considered.empty()) return first;
  const std::size_t number = tuner->choose(first, with, target);
  return number == 0 ? first : with(number);
}

/// The body of a scan under the name that its kernels begin with.
ir::Graph named(std::string name, const ir::Graph& body) {
  ir::Graph to(std::move(name));
  const ir::Moved moved = ir::inline_graph(body, to, [&](NodeId id) -> std::optional<ir::Value> {
    const ir::Node& node = body.node(id);
    if (!std::holds_alternative<ir::InputComputation>(node.op->compute)) return std::nullopt;
    return ir::Value{to.add(node, {}), 0};
  });
  ir::copy_results(body, moved, to);
  return to;
}

/// From a graph after the passes to its kernels in the order in which they run.
class ProgramPlanner {
 public:
  /// With `loop_length` the graph is the body of a loop.
  ProgramPlanner(ir::Graph graph, const CompileOptions& options,
                 std::optional<std::int64_t> loop_length = std::nullopt)
      : options_(options), loop_length_(loop_length), plan_{.graph = std::move(graph)} {}

  Plan run(StageClock& watch) {
    const bool store = options_.store_values && !options_.without.contains(kStoredValues);
    plan_.fusion = passes::fuse(plan_.graph, {options_.fuse, store});
    watch.lap("fusion");
    const Target target = make_target(options_.set);
    std::vector<std::vector<ScheduledKernel>> scheduled(plan_.fusion.groups.size());
    // Nothing else runs while the tuner measures.
    const int threads = options_.tuner == nullptr ? options_.threads : 1;
    for_each_parallel(scheduled.size(), threads, [&](std::size_t group) {
      if (scan_of(group)) return;
      scheduled[group] =
          schedule_group(plan_, group, loop_length_.value_or(1), target, options_.tuner);
    });
    watch.lap("schedule");
    for (std::size_t group = 0; group < scheduled.size(); ++group) {
      if (const std::optional<NodeId> scan = scan_of(group)) {
        append_loop(*scan, group, watch);
      } else {
        std::ranges::move(scheduled[group], std::back_inserter(straight_));
      }
    }
    UpdateCopies(plan_.graph, plan_.fusion, loop_length_.has_value(), straight_).append();
    flush();
    watch.lap("chains");
    return std::move(plan_);
  }

 private:
  std::optional<NodeId> scan_of(std::size_t group) const {
    const NodeId first = plan_.fusion.groups[group].roots.front();
    const bool is_scan =
        std::holds_alternative<ir::ScanComputation>(plan_.graph.node(first).op->compute);
    return is_scan ? std::optional(first) : std::nullopt;
  }

  /// Appends the kernels since the last loop.
  void flush() {
    append(std::move(straight_));
    straight_ = {};
  }

  /// Appends the kernels, all those of a loop or of none, in chains.
  void append(std::vector<ScheduledKernel> kernels, bool are_loop = false) {
    if (options_.fuse && !options_.without.contains(kChains)) {
      std::vector<runtime::Chain> chains = chain_kernels(plan_.graph, plan_.fusion, kernels);
      if (are_loop) {
        const auto chain = chain_of_iterations(plan_.graph, plan_.fusion, kernels, chains);
        if (chain) chains = {*chain};
      }
      for (runtime::Chain chain : chains) {
        chain.first += plan_.kernels.size();
        plan_.chains.push_back(chain);
      }
    }
    std::ranges::move(kernels, std::back_inserter(plan_.kernels));
  }

  void append_loop(NodeId scan, std::size_t group, StageClock& watch) {
    const ir::Attributes& attributes = plan_.graph.node(scan).attributes;
    CompileOptions options = options_;
    options.without.insert(std::string(kChains));  // found when all kernels of the loop are there
    const std::int64_t length = attributes.get<std::int64_t>("length");
    const std::string name = fmt::format("{}_{}_scan", plan_.graph.name(), group);
    Plan body =
        ProgramPlanner(named(name, *attributes.get<ir::GraphPointer>("body")), options, length)
            .run(watch);
    LoopKernels loop =
        loop_kernels(plan_.graph, scan, {body.graph, body.fusion, std::move(body.kernels)});
    plan_.bodies.push_back({scan, std::move(body.graph), std::move(body.fusion)});
    std::ranges::move(loop.before, std::back_inserter(straight_));
    flush();
    std::vector<ScheduledKernel> kernels;
    for (std::vector<ScheduledKernel>* part : {&loop.first, &loop.body, &loop.last}) {
      std::ranges::move(*part, std::back_inserter(kernels));
    }
    if (options_.fuse && !options_.without.contains(kFoldedCopies)) {
      fold_copies(plan_.graph, plan_.fusion, kernels);
    }
    if (kernels.empty()) return;
    plan_.loops.push_back({plan_.kernels.size(), kernels.size(), length});
    append(std::move(kernels), /*are_loop=*/true);
  }

  const CompileOptions& options_;
  std::optional<std::int64_t> loop_length_;
  Plan plan_;
  std::vector<ScheduledKernel> straight_;  // kernels since the last loop
};

}  // namespace

std::vector<std::string> optional_stages() {
  std::vector<std::string> names;
  for (const passes::Pass& pass : passes::pipeline()) {
    if (!pass.needed) names.emplace_back(pass.name);
  }
  names.emplace_back(kStoredValues);
  names.emplace_back(kFoldedCopies);
  names.emplace_back(kChains);
  return names;
}

Plan plan_program(const ir::Graph& graph, const CompileOptions& options) {
  std::vector<StageSeconds> seconds;
  StageClock watch(seconds);
  passes::PipelineOptions pipeline;
  pipeline.disabled = options.without;
  ir::Graph lowered = passes::run_pipeline(graph, pipeline);
  watch.lap("passes");
  Plan plan = ProgramPlanner(std::move(lowered), options).run(watch);
  plan.seconds = std::move(seconds);
  return plan;
}

runtime::Executable place(Plan& plan, const runtime::StateLayout& layout) {
  runtime::Executable executable;
  executable.name = plan.graph.name();
  executable.chains = plan.chains;
  executable.loops = plan.loops;
  Linker linker(plan, layout, executable);
  for (const ScheduledKernel& scheduled : plan.kernels) {
    const Kernel& kernel = scheduled.kernel;
    runtime::Step step{kernel.name, kernel.provenance,   nullptr, {}, kernel.task_count(),
                       0,           scheduled.operations};
    for (std::size_t b = 0; b < scheduled.parameters.size(); ++b) {
      BufferReference reference =
          linker.locate(scheduled.parameters[b], kernel.buffers[b].role != BufferRole::input);
      if (!scheduled.slides.empty() && scheduled.slides[b].stride != 0) {
        reference.begin = scheduled.slides[b].begin;
        reference.stride = scheduled.slides[b].stride;
        reference.bytes = kernel.buffers[b].type.byte_size();
      }
      step.buffers.push_back(reference);
    }
    executable.steps.push_back(std::move(step));
  }
  for (const ir::Result& result : plan.graph.results()) {
    if (result.update) continue;
    executable.outputs.push_back({result.name, plan.graph.type(result.value),
                                  linker.locate(output_memory(plan.graph, result), false)});
  }
  executable.arena_bytes = plan.memory.peak_bytes;
  for (const ScheduledKernel& kernel : plan.kernels) {
    executable.scratch_bytes = std::max(executable.scratch_bytes, expected_scratch(kernel.kernel));
  }
  return executable;
}

runtime::Executable compile(Plan& plan, const runtime::StateLayout& layout,
                            const CompileOptions& options) {
  StageClock watch(plan.seconds);
  runtime::Executable executable = place(plan, layout);
  watch.lap("memory");
  std::vector<Kernel> kernels;
  for (const ScheduledKernel& kernel : plan.kernels) kernels.push_back(kernel.kernel);
  MachineCode code = codegen::compile(std::span<const Kernel>(kernels), make_target(options.set),
                                      options.threads, options.store, options.debug);
  plan.cached_modules = code.report.cached_modules;
  plan.compiled_modules = code.report.compiled_modules;
  plan.modules = std::move(code.modules);
  watch.lap("machine code");
  executable.scratch_bytes = 0;
  for (std::size_t i = 0; i < executable.steps.size(); ++i) {
    runtime::Step& step = executable.steps[i];
    step.function = code.kernels[i].function;
    plan.symbols.push_back(code.kernels[i].symbol);
    step.scratch_bytes = code.kernels[i].scratch_bytes;
    executable.scratch_bytes = std::max(executable.scratch_bytes, step.scratch_bytes);
  }
  executable.code = std::move(code.code);
  return executable;
}

}  // namespace gradus::codegen
