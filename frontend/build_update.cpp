#include <fmt/format.h>

#include "frontend/build.h"
#include "passes/differentiate.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

ir::Provenance optimizer_provenance(const OptimizerSpec& optimizer) {
  return {std::make_shared<const ir::Origin>(ir::Origin{optimizer.where, "optimizer"}),
          ir::Role::update};
}

/// The rate of this run, f64[].
Expr learning_rate(const OptimizerSpec& optimizer, Expr step) {
  ir::Graph& graph = *step.graph;
  const Choice& choice = optimizer.settings.choice("learning_rate");
  const ir::Schedule& schedule = *ir::find_schedule(choice.name);
  std::vector<double> parameters;
  for (const ir::Hyperparameter& p : schedule.parameters) {
    parameters.push_back(choice.settings.number(p.name));
  }
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

double initial_slot(const OptimizerSpec& optimizer) {
  const int number = optimizer.method->initial_slot;
  return number < 0 ? 0 : hyperparameters(optimizer)[static_cast<std::size_t>(number)];
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

/// The first update of a parameter has the plain name, others that of their loss in it.
std::string slot_name(const ModelSpec& spec, std::size_t update, const ParameterSpec& parameter,
                      const ir::Slot& slot) {
  for (std::size_t before = 0; before < update; ++before) {
    if (!spec.updates[before].names(parameter.name)) continue;
    const LossSpec& loss = spec.losses[spec.updates[update].loss];
    return fmt::format("{}/{}/{}", parameter.name, loss.name, slot.name);
  }
  return fmt::format("{}/{}", parameter.name, slot.name);
}

/// visit(update number, parameter, slot) for every slot, by update and parameter.
template <typename Visit>
void for_each_slot(const ModelSpec& spec, std::span<const ParameterSpec> parameters,
                   const Visit& visit) {
  for (std::size_t number = 0; number < spec.updates.size(); ++number) {
    const UpdateSpec& update = spec.updates[number];
    for (const ParameterSpec& parameter : parameters) {
      if (!parameter.trained || !update.names(parameter.name)) continue;
      for (const ir::Slot& slot : update.optimizer.method->slots) visit(number, parameter, slot);
    }
  }
}

}  // namespace

void build_update(const ModelSpec& spec, std::size_t number, std::int64_t index, Forward& forward,
                  std::span<const ParameterSpec> all, Expr loss) {
  ir::Graph& graph = forward.graph;
  const UpdateSpec& own = spec.updates[number];
  const ir::Optimizer& method = *own.optimizer.method;
  std::vector<Expr> parameters;
  std::vector<const ParameterSpec*> specs;
  for (const ParameterSpec& parameter : all) {
    if (!parameter.trained || !own.names(parameter.name)) continue;
    specs.push_back(&parameter);
    parameters.push_back(state_value(forward, parameter.name, parameter.type));
  }
  std::vector<Expr> gradients = passes::gradients(loss, parameters);
  graph.set_provenance(optimizer_provenance(own.optimizer));
  const double limit = own.optimizer.settings.number("clip_norm");
  if (limit > 0 && !gradients.empty()) clip(gradients, limit);
  const Expr step =
      random_counter(graph, "step", {.index = index, .count = own.repeat, .examples = 0});
  const Expr rate = learning_rate(own.optimizer, step);
  const std::vector<double> hyper = hyperparameters(own.optimizer);
  const double decay = decays_itself(method) ? 0 : own.optimizer.settings.number("weight_decay");
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const ParameterSpec& parameter = *specs[i];
    graph.set_provenance(parameter.provenance.with_role(ir::Role::update));
    std::vector<Expr> slots;
    for (const ir::Slot& slot : method.slots) {
      slots.push_back(
          state_value(forward, slot_name(spec, number, parameter, slot), parameter.type));
    }
    Expr w = parameters[i];
    if (decay > 0) w = w - w * ir::cast(rate * decay, w.element());
    const ir::Update update = method.build({w, gradients[i], slots, rate, step, hyper});
    forward.state.values.insert_or_assign(parameter.name, update.parameter);
    for (std::size_t s = 0; s < slots.size(); ++s) {
      forward.state.values.insert_or_assign(slot_name(spec, number, parameter, method.slots[s]),
                                            update.slots[s]);
    }
  }
}

void build_state(const ModelSpec& spec, Forward& forward,
                 std::span<const ParameterSpec> parameters) {
  ir::Graph& graph = forward.graph;
  const auto add = [&](const std::string& name) {
    const auto known = forward.state.values.find(name);
    if (known == forward.state.values.end()) return;
    if (known->second.value != *graph.find_input(name)) {
      graph.add_update(name, known->second.value);
    }
  };
  for (const ParameterSpec& parameter : parameters) {
    if (!parameter.trained) continue;
    add(parameter.name);
    for_each_slot(spec, {&parameter, 1},
                  [&](std::size_t update, const ParameterSpec&, const ir::Slot& slot) {
                    add(slot_name(spec, update, parameter, slot));
                  });
  }
  for (const ParameterSpec& parameter : parameters) {
    if (!parameter.trained) add(parameter.name);
  }
  build_carried(forward);
  graph.set_provenance(optimizer_provenance(spec.updates.front().optimizer));
  graph.add_update("step", (counter_input(graph, "step") + 1).value);
}

StateSpec carried_state(const CarriedSpec& carried, std::int64_t batch) {
  TensorType type = carried.type;
  type.shape.insert(type.shape.begin(), batch);
  return {carried.name, std::move(type), StateKind::carried, carried.provenance};
}

std::vector<StateSpec> state_of(const ModelSpec& spec, std::span<const ParameterSpec> parameters,
                                std::span<const CarriedSpec> carried) {
  std::vector<StateSpec> state;
  for (const ParameterSpec& parameter : parameters) {
    state.push_back({parameter.name, parameter.type,
                     parameter.trained ? StateKind::parameter : StateKind::statistic,
                     parameter.provenance});
  }
  for_each_slot(
      spec, parameters,
      [&](std::size_t update, const ParameterSpec& parameter, const ir::Slot& slot) {
        state.push_back({slot_name(spec, update, parameter, slot), parameter.type, StateKind::slot,
                         parameter.provenance.with_role(ir::Role::update)});
      });
  for (const CarriedSpec& entry : carried) {
    state.push_back(carried_state(entry, spec.training.batch));
  }
  const ir::Provenance counters = optimizer_provenance(spec.updates.front().optimizer);
  for (const char* counter : {"seed", "step"}) {
    state.push_back({counter, {ElementType::i64, {}}, StateKind::counter, counters});
  }
  return state;
}

ir::Graph build_init(const ModelSpec& spec, std::span<const ParameterSpec> parameters,
                     std::span<const CarriedSpec> carried) {
  ir::Graph graph("init");
  Streams streams;
  const Expr seed{&graph,
                  graph.add_input("initial_seed", ir::InputKind::scalar, {ElementType::i64, {}})};
  for (const StateSpec& entry : state_of(spec, parameters, carried)) {
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
  graph.set_provenance(optimizer_provenance(spec.updates.front().optimizer));
  for_each_slot(spec, parameters,
                [&](std::size_t update, const ParameterSpec& parameter, const ir::Slot& slot) {
                  const double start = initial_slot(spec.updates[update].optimizer);
                  graph.add_update(slot_name(spec, update, parameter, slot),
                                   ir::full(graph, parameter.type, start).value);
                });
  for (const CarriedSpec& entry : carried) {
    const StateSpec state = carried_state(entry, spec.training.batch);
    graph.add_update(state.name, ir::full(graph, state.type, 0).value);
  }
  graph.add_update("seed", seed.value);
  graph.add_update("step", ir::constant(graph, ElementType::i64, 0).value);
  return graph;
}

}  // namespace gradus::frontend
