// A training step as a sequence of runs: of every update as many as it says, each a forward and a
// backward pass on the state that the one before has left.

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "frontend/build.h"
#include "passes/differentiate.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

void add_names(const Comparison& comparison, std::set<std::string>& names) {
  names.insert(comparison.prediction.name);
  names.insert(comparison.target.name);
  if (comparison.weights) names.insert(comparison.weights->name);
}

bool includes(const Selection& all, const Selection& part) {
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (part[i] && !all[i]) return false;
  }
  return true;
}

void unite(Selection& all, const Selection& part) {
  for (std::size_t i = 0; i < part.size(); ++i) all[i] = all[i] || part[i];
}

/// What the runs of the updates evaluate. A metric belongs to the last update that has its layers
/// anyway; the last run of all takes what none has.
struct Schedule {
  std::vector<Selection> layers;     // by update
  Selection last;                    // of the last run
  std::vector<std::size_t> metrics;  // by metric, its update

  explicit Schedule(const ModelSpec& spec) {
    Selection evaluated(spec.layers.size());
    for (const UpdateSpec& update : spec.updates) {
      std::set<std::string> names;
      for (const LossTerm& term : spec.losses[update.loss].terms) add_names(term.comparison, names);
      unite(evaluated, layers.emplace_back(layers_for(spec, names)));
    }
    last = layers.back();
    for (const MetricSpec& metric : spec.metrics) {
      std::set<std::string> names;
      add_names(metric.comparison, names);
      const Selection own = layers_for(spec, names);
      std::size_t update = layers.size() - 1;
      while (update > 0 && !includes(layers[update], own)) --update;
      if (!includes(layers[update], own)) update = layers.size() - 1;
      if (update == layers.size() - 1) unite(last, own);
      metrics.push_back(update);
    }
    evaluated.flip();
    unite(last, evaluated);
  }
};

class TrainStep {
 public:
  TrainStep(const ModelSpec& spec, std::span<const ParameterSpec> parameters, std::int64_t batch)
      : spec_(spec),
        schedule_(spec),
        parameters_(parameters),
        forward_("train_step", batch, Purpose::training),
        part_((batch + spec.parts() - 1) / spec.parts()) {
    forward_.carried_batch = spec.training.batch;
    for (const UpdateSpec& update : spec.updates) runs_ += update.repeat;
  }

  ir::Graph build() {
    for (std::size_t update = 0; update < spec_.updates.size(); ++update) {
      const std::int64_t repeat = spec_.updates[update].repeat;
      const std::int64_t possible = (forward_.batch + part_ - 1) / part_;
      const std::int64_t count = std::min(repeat, possible);
      for (std::int64_t i = 0; i < count; ++i) run(update, i, i + 1 == count);
      before_ += repeat;
    }
    build_state(spec_, forward_, parameters_);
    return std::move(forward_.graph);
  }

 private:
  void run(std::size_t update, std::int64_t index, bool last) {
    const std::int64_t first = index * part_;
    forward_.start({before_ + index, runs_, first, std::min(part_, forward_.batch - first)});
    const LossSpec& loss = spec_.losses[spec_.updates[update].loss];
    const bool last_of_all = last && update + 1 == spec_.updates.size();
    Findings findings;
    build_forward(spec_, forward_, last_of_all ? schedule_.last : schedule_.layers[update],
                  findings);
    const std::optional<Expr> value = build_loss(spec_, forward_, loss, parameters_, findings);
    findings.raise();
    if (last) {
      add_loss(loss, update, *value);
      for (std::size_t m = 0; m < spec_.metrics.size(); ++m) {
        if (schedule_.metrics[m] == update) {
          build_metric(spec_, forward_, spec_.metrics[m], findings);
        }
      }
    }
    findings.raise();
    build_update(spec_, update, index, forward_, parameters_, *value);
  }

  /// Of several updates with the same loss the last reports it.
  void add_loss(const LossSpec& loss, std::size_t update, Expr value) {
    for (std::size_t later = update + 1; later < spec_.updates.size(); ++later) {
      if (&spec_.losses[spec_.updates[later].loss] == &loss) return;
    }
    frontend::add_loss(spec_, forward_, loss, value);
  }

  const ModelSpec& spec_;
  const Schedule schedule_;
  std::span<const ParameterSpec> parameters_;
  Forward forward_;
  const std::int64_t part_;  // examples of a run
  std::int64_t runs_ = 0;    // in a step
  std::int64_t before_ = 0;  // runs of the updates before
};

/// Everything that "of" can name: what stands before a slash in the name of a parameter.
std::vector<std::string> owners(const Forward& forward) {
  std::set<std::string> names;
  for (const ParameterSpec& parameter : forward.state.parameters) {
    if (!parameter.trained) continue;
    for (auto at = parameter.name.find('/'); at != std::string::npos;
         at = parameter.name.find('/', at + 1)) {
      names.insert(parameter.name.substr(0, at));
    }
  }
  return {names.begin(), names.end()};
}

/// The trained parameters below a name.
std::vector<const ParameterSpec*> parameters_of(const Forward& forward, const std::string& name) {
  std::vector<const ParameterSpec*> found;
  for (const ParameterSpec& parameter : forward.state.parameters) {
    if (parameter.trained && parameter.name.starts_with(name + "/")) found.push_back(&parameter);
  }
  return found;
}

void check_update(const ModelSpec& spec, const UpdateSpec& update, const Forward& forward,
                  Expr loss, Findings& findings) {
  const std::string& name = spec.losses[update.loss].name;
  for (const Reference& reference : update.of) {
    const std::vector<const ParameterSpec*> found = parameters_of(forward, reference.name);
    if (found.empty()) {
      findings.add("E0213", fmt::format("\"{}\" has no parameters to train", reference.name),
                   reference.where, suggestion(reference.name, owners(forward)));
      continue;
    }
    std::vector<Expr> values;
    for (const ParameterSpec* parameter : found) {
      values.push_back({loss.graph, *loss.graph->find_input(parameter->name)});
    }
    const std::vector<bool> reached = passes::reach(loss, values);
    if (std::ranges::find(reached, true) != reached.end()) continue;
    findings.add("E0213",
                 fmt::format("the loss \"{}\" does not depend on \"{}\"", name, reference.name),
                 reference.where,
                 "what it compares must read a use of it, with no \"stop_gradient\" between");
  }
}

}  // namespace

void check_updates(const ModelSpec& spec, const Forward& forward, std::span<const Expr> losses,
                   Findings& findings) {
  for (std::size_t u = 0; u < spec.updates.size(); ++u) {
    const UpdateSpec& update = spec.updates[u];
    check_update(spec, update, forward, losses[update.loss], findings);
    for (std::size_t before = 0; before < u; ++before) {
      if (spec.updates[before].loss != update.loss) continue;
      const bool again =
          std::ranges::any_of(forward.state.parameters, [&](const ParameterSpec& parameter) {
            return parameter.trained && update.names(parameter.name) &&
                   spec.updates[before].names(parameter.name);
          });
      if (!again) continue;
      findings.add("E0213",
                   fmt::format("the update at line {} takes the same parameters down the same loss",
                               spec.updates[before].where.line),
                   update.where, "\"repeat\" runs an update several times");
    }
  }
}

ir::Graph build_train_step(const ModelSpec& spec, std::span<const ParameterSpec> parameters,
                           std::int64_t batch) {
  return TrainStep(spec, parameters, batch).build();
}

}  // namespace gradus::frontend
