#include <fmt/format.h>

#include "frontend/build.h"
#include "passes/differentiate.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

ir::Provenance optimizer_provenance(const ModelSpec& spec) {
  return {std::make_shared<const ir::Origin>(ir::Origin{spec.optimizer.where, "optimizer"}),
          ir::Role::update};
}

/// The rate of this step, f64[].
Expr learning_rate(const ModelSpec& spec, ir::Graph& graph) {
  const Choice& choice = spec.optimizer.settings.choice("learning_rate");
  const ir::Schedule& schedule = *ir::find_schedule(choice.name);
  std::vector<double> parameters;
  for (const ir::Hyperparameter& p : schedule.parameters) {
    parameters.push_back(choice.settings.number(p.name));
  }
  const Expr step = counter_input(graph, "step");
  const Expr rate = schedule.build(
      ir::constant(graph, ElementType::f64, choice.settings.number("rate")), step, parameters);
  const std::int64_t steps = choice.settings.integer("warm_up");
  return steps == 0 ? rate : ir::warm_up(rate, step, static_cast<double>(steps));
}

std::vector<double> hyperparameters(const OptimizerSpec& optimizer) {
  std::vector<double> values;
  for (const ir::Hyperparameter& p : optimizer.method->hyperparameters) {
    values.push_back(optimizer.settings.number(p.name));
  }
  return values;
}

/// Scales all gradients by limit / max(norm, limit), where norm is that of all together.
void clip(std::vector<Expr>& gradients, double limit) {
  Expr squares = ir::sum_all(gradients[0] * gradients[0]);
  for (std::size_t i = 1; i < gradients.size(); ++i) {
    squares = squares + ir::sum_all(gradients[i] * gradients[i]);
  }
  const Expr norm = ir::map("sqrt", squares);
  const Expr scale = limit / ir::map("max", norm, ir::full_like(norm, limit));
  for (Expr& gradient : gradients) gradient = gradient * scale;
}

bool decays_itself(const ir::Optimizer& method) {
  for (const ir::Hyperparameter& p : method.hyperparameters) {
    if (p.name == "weight_decay") return true;
  }
  return false;
}

std::string slot_name(const ParameterSpec& parameter, const ir::Slot& slot) {
  return fmt::format("{}/{}", parameter.name, slot.name);
}

}  // namespace

void build_updates(const ModelSpec& spec, Forward& forward, Expr loss) {
  ir::Graph& graph = forward.graph;
  const ir::Optimizer& method = *spec.optimizer.method;
  std::vector<Expr> parameters;
  std::vector<const ParameterSpec*> specs;
  for (const ParameterSpec& parameter : forward.parameters) {
    if (!parameter.trained) continue;
    specs.push_back(&parameter);
    parameters.push_back({&graph, *graph.find_input(parameter.name)});
  }
  std::vector<Expr> gradients = passes::gradients(loss, parameters);
  graph.set_provenance(optimizer_provenance(spec));
  const double limit = spec.optimizer.settings.number("clip_norm");
  if (limit > 0 && !gradients.empty()) clip(gradients, limit);
  const Expr rate = learning_rate(spec, graph);
  const Expr step = counter_input(graph, "step");
  const std::vector<double> hyper = hyperparameters(spec.optimizer);
  const double decay = decays_itself(method) ? 0 : spec.optimizer.settings.number("weight_decay");
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const ParameterSpec& parameter = *specs[i];
    graph.set_provenance(parameter.provenance.with_role(ir::Role::update));
    std::vector<Expr> slots;
    for (const ir::Slot& slot : method.slots) {
      slots.push_back({&graph, graph.add_input(slot_name(parameter, slot), ir::InputKind::state,
                                               parameter.type)});
    }
    Expr w = parameters[i];
    if (decay > 0) w = w - w * ir::cast(rate * decay, w.element());
    const ir::Update update = method.build({w, gradients[i], slots, rate, step, hyper});
    graph.add_update(parameter.name, update.parameter.value);
    for (std::size_t s = 0; s < slots.size(); ++s) {
      graph.add_update(slot_name(parameter, method.slots[s]), update.slots[s].value);
    }
  }
  for (const StatisticUpdate& update : forward.updates) {
    graph.set_provenance(update.provenance.with_role(ir::Role::update));
    graph.add_update(update.name, update.value.value);
  }
  graph.set_provenance(optimizer_provenance(spec));
  graph.add_update("step", (step + 1).value);
}

std::vector<StateSpec> state_of(const ModelSpec& spec, std::span<const ParameterSpec> parameters) {
  std::vector<StateSpec> state;
  for (const ParameterSpec& parameter : parameters) {
    state.push_back({parameter.name, parameter.type,
                     parameter.trained ? StateKind::parameter : StateKind::statistic,
                     parameter.provenance});
  }
  for (const ParameterSpec& parameter : parameters) {
    if (!parameter.trained) continue;
    for (const ir::Slot& slot : spec.optimizer.method->slots) {
      state.push_back({slot_name(parameter, slot), parameter.type, StateKind::slot,
                       parameter.provenance.with_role(ir::Role::update)});
    }
  }
  for (const char* counter : {"seed", "step"}) {
    state.push_back(
        {counter, {ElementType::i64, {}}, StateKind::counter, optimizer_provenance(spec)});
  }
  return state;
}

ir::Graph build_init(const ModelSpec& spec, std::span<const ParameterSpec> parameters) {
  ir::Graph graph("init");
  Streams streams;
  const ir::Optimizer& method = *spec.optimizer.method;
  const Expr seed{&graph,
                  graph.add_input("initial_seed", ir::InputKind::scalar, {ElementType::i64, {}})};
  for (const StateSpec& entry : state_of(spec, parameters)) {
    graph.set_provenance(entry.provenance);
    (void)graph.add_input(entry.name, ir::InputKind::state, entry.type);
  }
  for (const ParameterSpec& parameter : parameters) {
    graph.set_provenance(parameter.provenance);
    graph.add_update(parameter.name,
                     parameter.initialiser
                         ->build(seed, streams.of(parameter.name, parameter.where()),
                                 parameter.type.shape, parameter.initialiser_parameters)
                         .value);
  }
  graph.set_provenance(optimizer_provenance(spec));
  const double start =
      method.initial_slot < 0
          ? 0
          : hyperparameters(spec.optimizer)[static_cast<std::size_t>(method.initial_slot)];
  for (const ParameterSpec& parameter : parameters) {
    if (!parameter.trained) continue;
    for (const ir::Slot& slot : method.slots) {
      graph.add_update(slot_name(parameter, slot), ir::full(graph, parameter.type, start).value);
    }
  }
  graph.add_update("seed", seed.value);
  graph.add_update("step", ir::constant(graph, ElementType::i64, 0).value);
  return graph;
}

}  // namespace gradus::frontend
