#include <fmt/format.h>

#include <algorithm>
#include <regex>

#include "frontend/build.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

ir::Provenance provenance_of(const SourceLocation& where, std::string layer, ir::Role role,
                             BlockUses uses = {}) {
  return {std::make_shared<const ir::Origin>(ir::Origin{where, std::move(layer), std::move(uses)}),
          role};
}

/// `text` with `name` for a number.
std::string name_number(const std::string& text, std::int64_t number, const std::string& name) {
  return std::regex_replace(text, std::regex(R"(\b)" + std::to_string(number) + R"(\b)"), name);
}

/// `text` with "batch" for the batch size that stands for any.
std::string name_batch(const std::string& text) { return name_number(text, kAnyBatch, "batch"); }

/// The same where the times of the inputs are examples, too.
std::string name_times(const std::string& text, const std::vector<LayerInput>& inputs) {
  if (inputs.empty() || inputs.front().value.rank() < 2) return text;
  const std::int64_t times = inputs.front().value.shape()[1];
  return name_number(text, times * kAnyBatch, fmt::format("batch*{}", times));
}

/// The input or layer of that name; empty when it failed before.
std::optional<LayerInput> value_of(const ModelSpec& spec, Forward& forward, const std::string& name,
                                   Findings& findings) {
  if (forward.failed.contains(name)) return std::nullopt;
  if (name == "seed" || name == "step")
    return LayerInput{name, 0, random_counter(forward.graph, name, forward.run)};
  const auto known = forward.values.find(name);
  if (known != forward.values.end()) return known->second;
  const auto input = std::ranges::find(spec.inputs, name, &ModelInput::name);
  GRADUS_CHECK(input != spec.inputs.end(), "an unchecked name: " + name);
  TensorType type = input->example;
  const bool by_position = forward.decoding && forward.decoding->token == name;
  if (by_position) type.shape.front() = forward.decoding->count;
  type.shape.insert(type.shape.begin(), forward.batch);
  if (!is_valid(type.shape)) {
    findings.add("E0204",
                 name_batch(fmt::format("input '{}' is too large: {}", name, to_string(type))),
                 input->where);
    forward.failed.insert(name);
    return std::nullopt;
  }
  const ir::ProvenanceScope scope(forward.graph,
                                  provenance_of(input->where, name, ir::Role::forward));
  const TensorType given{by_position ? ElementType::i32 : type.element, type.shape};
  const Expr read{&forward.graph, forward.graph.add_input(name, ir::InputKind::batch, given)};
  const Expr all = given == type ? read : ir::cast(read, type.element);
  const Expr value = examples_of(all, forward.run.first, forward.run.examples);
  return forward.values.emplace(name, LayerInput{name, input->where.line, value, by_position})
      .first->second;
}

std::string sources_of(const std::vector<LayerInput>& inputs) {
  std::string text;
  for (const LayerInput& input : inputs) text += "; " + input.describe();
  return text;
}

void check_count(const LayerSpec& spec, std::size_t inputs) {
  if (!spec.layer) return;  // the op checks its operands
  const auto found = static_cast<int>(inputs);
  const int least = spec.layer->least_inputs;
  const int most = spec.layer->most_inputs;
  if (found >= least && (most < 0 || found <= most)) return;
  throw LayerError(fmt::format("reads {}{} input{}, found {}", most < 0 ? "at least " : "", least,
                               least == 1 ? "" : "s", found),
                   found < least ? "name them: \"from\": [\"a\", \"b\"]" : "");
}

/// Layers keep the batch axis; ops may do as they like.
void check_result(const LayerSpec& spec, Expr result, std::int64_t batch) {
  if (!spec.layer || (result.rank() > 0 && result.shape()[0] == batch)) return;
  throw LayerError("loses the batch axis: it gives " + to_string(result.type()));
}

/// How many times the inputs of a time-distributed layer have. Throws LayerError unless all have as
/// many.
std::int64_t times_of(const std::vector<LayerInput>& inputs) {
  if (inputs.empty()) throw LayerError("reads nothing that it could be distributed over");
  std::int64_t times = 0;
  for (const LayerInput& input : inputs) {
    const Shape& shape = input.value.shape();
    if (shape.size() < 2) {
      throw LayerError("is time_distributed and needs an axis of times, but " + input.describe());
    }
    if (&input == &inputs.front()) times = shape[1];
    if (shape[1] == times) continue;
    throw LayerError(
        fmt::format("is time_distributed over {} times, but {}", times, input.describe()));
  }
  return times;
}

/// Throws LayerError where an op works along the axis of examples, so that one would see others.
void check_axis_of_examples(const LayerSpec& spec) {
  const auto throws_at = [](const Setting& setting, bool wrong) {
    if (!wrong) return;
    throw LayerError(
        fmt::format("works along axis 0, as its \"{}\" says, and is time_distributed: that axis "
                    "keeps examples and times apart",
                    setting.name),
        "the axes of a time's value are 1, 2, ...");
  };
  for (const Setting& setting : spec.settings.entries()) {
    const auto* axis = std::get_if<std::int64_t>(&setting.value);
    if (axis) throws_at(setting, setting.name == "axis" && *axis == 0);
    const auto* axes = std::get_if<ir::Integers>(&setting.value);
    if (!axes || axes->empty()) continue;
    const bool repeats = spec.kind == "broadcast";  // its axes are those that x has
    const bool named = setting.name == "axes" && !repeats;
    throws_at(setting, named && std::ranges::find(*axes, 0) != axes->end());
    throws_at(setting, setting.name == "permutation" && axes->front() != 0);
    const bool cuts = setting.name == "low" || setting.name == "high" ||
                      setting.name == "interior" || setting.name == "start";
    throws_at(setting, cuts && axes->front() != 0);
  }
}

/// Every time of every example is an example to the layer.
Expr build_over_times(const LayerSpec& spec, LayerBuilder& builder) {
  if (spec.layer && !spec.layer->by_example) {
    throw LayerError("cannot be time_distributed: it looks at values as a whole");
  }
  if (spec.op) check_axis_of_examples(spec);
  const std::int64_t examples = builder.batch;
  const std::int64_t times = times_of(builder.inputs);
  builder.batch = examples * times;
  for (LayerInput& input : builder.inputs) {
    Shape shape = input.value.shape();
    shape.erase(shape.begin());
    shape.front() = builder.batch;
    input.value = ir::reshape(input.value, shape);
    input.by_time = true;
  }
  const Expr result = spec.layer ? spec.layer->build(builder) : build_op(builder, *spec.op);
  if (result.rank() == 0 || result.shape()[0] != builder.batch) {
    throw LayerError("does not keep examples apart, so that it cannot be time_distributed");
  }
  Shape shape = result.shape();
  shape.front() = times;
  shape.insert(shape.begin(), examples);
  return ir::reshape(result, shape);
}

Expr build_with(const LayerSpec& spec, LayerBuilder& builder) {
  if (spec.time_distributed) return build_over_times(spec, builder);
  return spec.layer ? spec.layer->build(builder) : build_op(builder, *spec.op);
}

/// The type of an example of that input or layer, on whole sequences.
TensorType whole_type(const ModelSpec& spec, const Forward& forward, const std::string& name) {
  const auto layer = std::ranges::find(forward.whole, name, &LayerSummary::path);
  if (layer != forward.whole.end()) return layer->result;
  const auto input = std::ranges::find(spec.inputs, name, &ModelInput::name);
  return input == spec.inputs.end() ? TensorType{ElementType::i64, {}} : input->example;
}

Decodes decodes(const LayerSpec& layer) {
  if (layer.time_distributed) return Decodes::no;
  if (layer.layer != nullptr) return layer.layer->decodes;
  const bool elements =
      std::holds_alternative<ir::ElementwiseComputation>(layer.op->compute) && !layer.from.empty();
  return elements ? Decodes::elements : Decodes::no;
}

/// Whether the layer is given one position after another: all but what is made of other sequences.
bool is_by_position(const Forward& forward, const std::vector<LayerInput>& inputs) {
  if (!forward.decoding) return false;
  return inputs.empty() || std::ranges::any_of(inputs, &LayerInput::by_position);
}

/// Throws LayerError unless the layer can be given one position after another.
void check_decodes(const ModelSpec& spec, const Forward& forward, const LayerSpec& layer,
                   const std::vector<LayerInput>& inputs) {
  const Decodes how = decodes(layer);
  if (how == Decodes::no) throw LayerError("takes positions together");
  for (const LayerInput& input : inputs) {
    const TensorType type = example_type(input.value.type());
    if (input.value.rank() < 2)
      throw LayerError("reads " + input.name + ", which has no positions");
    if (!input.by_position && how != Decodes::by_position) {
      throw LayerError("reads " + input.name + ", which it is given whole");
    }
    if (how == Decodes::features && type.rank() == 1 &&
        type != whole_type(spec, forward, input.name)) {
      throw LayerError("takes positions as features");
    }
  }
}

bool differentiates(const LayerSpec& layer) {
  return layer.layer != nullptr && layer.layer->differentiates;
}

Expr build_layer(const ModelSpec& model, const LayerSpec& spec, Forward& forward,
                 const std::vector<LayerInput>& inputs, Findings& findings) {
  const bool by_position = is_by_position(forward, inputs);
  const std::size_t carried = forward.state.carried.size();
  LayerBuilder builder{.graph = forward.graph,
                       .settings = spec.settings,
                       .path = spec.name,
                       .owner = spec.owner,
                       .shared = spec.shared,
                       .where = spec.where,
                       .purpose = forward.purpose,
                       .batch = forward.run.examples,
                       .inputs = inputs,
                       .streams = forward.streams,
                       .state = forward.state,
                       .run = forward.run,
                       .carried_batch = forward.carried_batch,
                       .decoding = by_position ? &*forward.decoding : nullptr,
                       .differentiated = std::ranges::any_of(model.layers, differentiates)};
  const auto report = [&](const std::string& message, const std::string& hint) {
    const std::string who = spec.named ? fmt::format("{} '{}'", spec.kind, spec.name) : spec.kind;
    const BlockScope found(findings, spec.uses);
    if (forward.decoding) {
      findings.add("E0214", fmt::format("no generation with {}: it {}", who, message), spec.where,
                   hint);
    } else {
      const std::string text = spec.time_distributed ? name_times(message, inputs) : message;
      findings.add("E0204", name_batch(fmt::format("{} {}", who, text)), spec.where, hint);
    }
  };
  try {
    check_count(spec, inputs.size());
    if (by_position) check_decodes(model, forward, spec, inputs);
    const Expr result = build_with(spec, builder);
    if (forward.decoding && !by_position && forward.state.carried.size() > carried) {
      throw LayerError("is stateful, but reads another sequence");
    }
    check_result(spec, result, forward.run.examples);
    return result;
  } catch (const LayerError& error) {
    report(error.what(), error.hint);
  } catch (const ir::TypeError& error) {
    report(fmt::format("does not fit: {}{}", error.what(), sources_of(inputs)), "");
  }
  return {};
}

/// What a comparison looks at: the prediction, the target and the weights, as far as there are
/// such. Empty when one of them failed before.
std::vector<LayerInput> sides(const ModelSpec& spec, Forward& forward, const Comparison& comparison,
                              Findings& findings) {
  std::vector<LayerInput> all;
  const auto add = [&](const Reference& reference) {
    const std::optional<LayerInput> value = value_of(spec, forward, reference.name, findings);
    if (value) all.push_back(*value);
    return value.has_value();
  };
  if (!add(comparison.prediction)) return {};
  if (comparison.number) {
    const Expr target = ir::full_like(all.front().value, *comparison.number);
    all.push_back({fmt::format("{}", *comparison.number), 0, target});
  } else if (!comparison.target_key.empty() && !add(comparison.target)) {
    return {};
  }
  if (comparison.weights && !add(*comparison.weights)) return {};
  return all;
}

/// How to bring two sides of unlike type together, where that is clear.
std::string comparison_hint(const ModelSpec& spec, const std::vector<LayerInput>& sides) {
  const std::string& name = sides[1].name;
  const bool declared =
      std::ranges::find(spec.inputs, name, &ModelInput::name) != spec.inputs.end();
  const TensorType prediction = example_type(sides[0].value.type());
  const TensorType target = example_type(sides[1].value.type());
  if (target.element == ElementType::i32 && prediction.rank() > target.rank() + 1) {
    return "add { \"layer\": \"flatten\" } before the dense layers: they work on the last axis";
  }
  if (target.element == ElementType::i64 || target.element == ElementType::u8) {
    return fmt::format("declare \"{}\" as i32", name);
  }
  if (prediction.element_count() != target.element_count()) return "";
  if (declared) return fmt::format("declare \"{}\" as \"{}\"", name, to_string(prediction));
  return fmt::format("reshape '{}' to {}", name, to_string(prediction.shape));
}

ir::Compared compared(const Comparison& comparison, const std::vector<LayerInput>& sides) {
  ir::Compared result{sides.front().value, comparison.kind()};
  if (!comparison.target_key.empty()) result.target = sides[1].value;
  if (comparison.weights) result.weights = sides.back().value;
  return result;
}

/// Builds a loss or metric and names all sides when they do not fit.
template <typename Record>
std::optional<Expr> compare(const ModelSpec& spec, Forward& forward, const Record& record,
                            const Comparison& comparison, Findings& findings) {
  const std::vector<LayerInput> all = sides(spec, forward, comparison, findings);
  if (all.empty()) return std::nullopt;
  try {
    return record.build(compared(comparison, all));
  } catch (const ir::TypeError& error) {
    findings.add("E0204",
                 name_batch(fmt::format("{} does not fit: {}{}", record.name, error.what(),
                                        sources_of(all))),
                 comparison.where, comparison.target_key.empty() ? "" : comparison_hint(spec, all));
    return std::nullopt;
  }
}

/// A mean of a batch as a result, and whether the batch has one.
void add_mean(const ModelSpec& spec, Forward& forward, const std::string& name, Expr value,
              const std::vector<const Comparison*>& comparisons) {
  forward.graph.add_result(name, value.value);
  std::optional<Expr> counts;
  for (const Comparison* comparison : comparisons) {
    if (!comparison->weights) return;
    Findings findings;
    const auto weights = value_of(spec, forward, comparison->weights->name, findings);
    const Expr own = ir::counts(weights->value);
    counts = counts ? ir::map("max", *counts, own) : own;
  }
  if (counts) forward.graph.add_result(name + "/counts", counts->value);
}

bool is_trained_by(const ModelSpec& spec, const LossSpec& loss, const ParameterSpec& parameter) {
  return std::ranges::any_of(spec.updates, [&](const UpdateSpec& update) {
    return &spec.losses[update.loss] == &loss && update.names(parameter.name);
  });
}

}  // namespace

void Forward::start(const Run& next) {
  run = next;
  values.clear();
  failed.clear();
  layers.clear();
  state.taken.clear();
  // What the runs before have made is a constant: no gradient goes back into them.
  for (auto& [name, value] : state.values) {
    const ir::Node& node = graph.node(value.value.node);
    if (node.op->vjp == nullptr) continue;
    const ir::ProvenanceScope scope(graph, node.provenance);
    value = ir::stop_gradient(value);
  }
}

Selection every_layer(const ModelSpec& spec) { return Selection(spec.layers.size(), true); }

Selection layers_for(const ModelSpec& spec, std::set<std::string> names) {
  Selection selection(spec.layers.size());
  std::set<std::string> owners;  // of parameters that others are tied to
  for (std::size_t i = spec.layers.size(); i-- > 0;) {
    const LayerSpec& layer = spec.layers[i];
    selection[i] = names.contains(layer.name) || owners.contains(layer.owner);
    if (!selection[i]) continue;
    for (const Reference& reference : layer.from) names.insert(reference.name);
    if (layer.settings.find("tied_to")) owners.insert(layer.settings.text("tied_to"));
  }
  return selection;
}

void build_forward(const ModelSpec& spec, Forward& forward, const Selection& selection,
                   Findings& findings) {
  for (std::size_t number = 0; number < spec.layers.size(); ++number) {
    if (!selection[number]) continue;
    const LayerSpec& layer = spec.layers[number];
    std::vector<LayerInput> inputs;
    for (const Reference& reference : layer.from) {
      if (std::optional<LayerInput> input = value_of(spec, forward, reference.name, findings)) {
        inputs.push_back(*input);
      }
    }
    const std::size_t before = forward.state.parameters.size();
    Expr result;
    if (inputs.size() == layer.from.size()) {
      forward.graph.set_provenance(
          provenance_of(layer.where, layer.name, ir::Role::forward, layer.uses));
      result = build_layer(spec, layer, forward, inputs, findings);
    }
    if (!result.graph) {
      forward.failed.insert(layer.name);
      continue;
    }
    std::int64_t count = 0;
    for (std::size_t i = before; i < forward.state.parameters.size(); ++i) {
      count += forward.state.parameters[i].type.element_count();
    }
    forward.layers.push_back(
        {layer.name, layer.kind, example_type(result.type()), count, layer.where});
    forward.values[layer.name] = {layer.name, layer.where.line, result,
                                  is_by_position(forward, inputs)};
  }
}

Expr state_value(Forward& forward, const std::string& name, const TensorType& type) {
  const auto known = forward.state.values.find(name);
  if (known != forward.state.values.end()) return known->second;
  const Expr value{&forward.graph, forward.graph.add_input(name, ir::InputKind::state, type)};
  return forward.state.values.emplace(name, value).first->second;
}

std::optional<Expr> build_loss(const ModelSpec& spec, Forward& forward, const LossSpec& loss,
                               std::span<const ParameterSpec> parameters, Findings& findings) {
  std::optional<Expr> total;
  for (const LossTerm& term : loss.terms) {
    forward.graph.set_provenance(
        provenance_of(term.comparison.where, loss.name, ir::Role::forward));
    std::optional<Expr> value = compare(spec, forward, *term.record, term.comparison, findings);
    if (!value) return std::nullopt;
    if (term.weight == 0) continue;  // whatever it is
    if (term.weight != 1) value = *value * term.weight;
    total = total ? *total + *value : *value;
  }
  if (!total) total = ir::full(forward.graph, {ElementType::f32, {}}, 0);
  for (const ParameterSpec& parameter : parameters) {
    const bool penalised = parameter.l1 > 0 || parameter.l2 > 0;
    if (!penalised || !is_trained_by(spec, loss, parameter)) continue;
    const Expr w = state_value(forward, parameter.name, parameter.type);
    if (parameter.l1 > 0) total = *total + ir::sum_all(ir::map("abs", w)) * parameter.l1;
    if (parameter.l2 > 0) total = *total + ir::sum_all(w * w) * parameter.l2;
  }
  return total;
}

void add_loss(const ModelSpec& spec, Forward& forward, const LossSpec& loss, Expr value) {
  std::vector<const Comparison*> comparisons;
  for (const LossTerm& term : loss.terms) {
    if (term.weight != 0) comparisons.push_back(&term.comparison);
  }
  add_mean(spec, forward, loss.name, value, comparisons);
}

void build_metric(const ModelSpec& spec, Forward& forward, const MetricSpec& metric,
                  Findings& findings) {
  forward.graph.set_provenance(
      provenance_of(metric.comparison.where, metric.name, ir::Role::metric));
  if (const std::optional<Expr> value =
          compare(spec, forward, *metric.record, metric.comparison, findings)) {
    add_mean(spec, forward, metric.name, *value, {&metric.comparison});
  }
}

void build_carried(Forward& forward) {
  for (const CarriedSpec& carried : forward.state.carried) {
    const Expr value = forward.state.values.at(carried.name);
    if (value.value == *forward.graph.find_input(carried.name)) continue;
    forward.graph.set_provenance(carried.provenance);
    forward.graph.add_update(carried.name, value.value);
  }
}

void build_outputs(const ModelSpec& spec, Forward& forward, Findings& findings) {
  for (const Reference& output : spec.outputs) {
    if (const std::optional<LayerInput> value = value_of(spec, forward, output.name, findings)) {
      forward.graph.add_result(output.name, value->value.value);
    }
  }
}

}  // namespace gradus::frontend
