#include "codegen/memory_use.h"

#include <algorithm>
#include <map>

namespace gradus::codegen {
namespace {

std::int64_t round_up(std::int64_t bytes, std::int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

FittedPlan measured(Plan plan, const runtime::StateLayout& layout, const MemoryLimit& limit) {
  const runtime::Executable executable = place(plan, layout);
  const MemoryUse use = memory_use(plan, executable, layout, limit.workers);
  return {std::move(plan), use, limit.bytes == 0 || use.total() <= limit.bytes};
}

/// `start` with kernels that run again.
FittedPlan with_runs(FittedPlan start, const runtime::StateLayout& layout,
                     const MemoryLimit& limit) {
  const std::int64_t rest = start.use.total() - start.use.activations;
  Plan plan = std::move(start.plan);
  plan.kernels = run_again(plan.graph, plan.fusion, plan.kernels, limit.bytes - rest);
  return measured(std::move(plan), layout, limit);
}

/// The step after which most is alive in the arena.
std::int64_t fullest_step(const Plan& plan) {
  std::int64_t fullest = 0;
  std::int64_t most = -1;
  for (std::int64_t step = 0; step < static_cast<std::int64_t>(plan.kernels.size()); ++step) {
    std::int64_t alive = 0;
    for (const ArenaBuffer& buffer : plan.arena) {
      const passes::Lifetime& lifetime = buffer.lifetime;
      if (lifetime.first <= step && step <= lifetime.last) alive += lifetime.bytes;
    }
    if (alive > most) {
      most = alive;
      fullest = step;
    }
  }
  return fullest;
}

}  // namespace

MemoryUse memory_use(const Plan& plan, const runtime::Executable& executable,
                     const runtime::StateLayout& layout, std::int64_t workers) {
  MemoryUse use;
  for (const runtime::StateEntry& entry : layout.entries) {
    if (entry.kind == runtime::StateKind::slot) {
      use.slots += round_up(entry.type.byte_size(), runtime::kBufferAlignment);
    }
  }
  use.weights = layout.bytes - use.slots;
  use.activations = executable.arena_bytes;
  use.scratch = executable.all_scratch(workers);
  use.data = static_cast<std::int64_t>(executable.constants.size());
  for (const runtime::ExecutableInput& input : executable.inputs) {
    use.data += input.type.byte_size();
  }
  use.alive = plan.memory.lower_bound_bytes;
  return use;
}

FittedPlan plan_within(const ir::Graph& graph, const runtime::StateLayout& layout,
                       const CompileOptions& options, const MemoryLimit& limit) {
  std::vector<FittedPlan> plans;
  plans.push_back(measured(plan_program(graph, options), layout, limit));
  if (plans[0].fits) return std::move(plans[0]);
  CompileOptions alone = options;  // more is alive at once where kernels form chains
  alone.without.insert(std::string(kChains));
  if (!plans[0].plan.chains.empty()) {
    plans[0] = measured(plan_program(graph, alone), layout, limit);
    if (plans[0].fits) return std::move(plans[0]);
  }
  if (options.fuse && options.store_values) {
    CompileOptions light = alone;
    light.store_values = false;
    plans.push_back(measured(plan_program(graph, light), layout, limit));
    if (plans[1].fits) return std::move(plans[1]);
  }
  const std::int64_t rest = plans[0].use.total() - plans[0].use.activations;
  if (rest < limit.bytes) {
    for (FittedPlan& plan : plans) {
      plan = with_runs(std::move(plan), layout, limit);
      if (plan.fits) return std::move(plan);
    }
  }
  return std::move(*std::ranges::min_element(
      plans, {}, [](const FittedPlan& fitted) { return fitted.use.total(); }));
}

std::vector<LayerMemory> memory_by_layer(const Plan& plan) {
  std::map<ir::Origin, std::int64_t> bytes;
  const auto add = [&](ir::NodeId id, std::int64_t size) {
    const auto& entries = plan.graph.node(id).provenance.entries();
    if (!entries.empty()) bytes[*entries.front().origin] += size;
  };
  for (ir::NodeId id : plan.graph.inputs()) {
    const ir::Node& node = plan.graph.node(id);
    if (node.attributes.get<std::string>("kind") != to_string(ir::InputKind::state)) continue;
    add(id, node.types[0].byte_size());
  }
  const std::int64_t step = fullest_step(plan);
  for (const ArenaBuffer& buffer : plan.arena) {
    const passes::Lifetime& lifetime = buffer.lifetime;
    if (lifetime.first <= step && step <= lifetime.last) add(buffer.memory.value, lifetime.bytes);
  }
  std::vector<LayerMemory> layers;
  for (const auto& [origin, size] : bytes) layers.push_back({origin, size});
  std::ranges::stable_sort(layers, std::ranges::greater{}, &LayerMemory::bytes);
  return layers;
}

}  // namespace gradus::codegen
