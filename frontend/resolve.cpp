// The model file with every default written out.

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/overloaded.h"
#include "frontend/spec.h"

namespace gradus::frontend {
namespace {

using Object = nlohmann::ordered_json;

Object tensor_json(const Tensor& tensor, std::size_t axis, std::int64_t& at) {
  if (axis == tensor.type.shape.size()) {
    return static_cast<double>(tensor.as<float>()[static_cast<std::size_t>(at++)]);
  }
  Object list = Object::array();
  for (std::int64_t i = 0; i < tensor.type.shape[axis]; ++i) {
    list.push_back(tensor_json(tensor, axis + 1, at));
  }
  return list;
}

void add_settings(Object& object, const Settings& settings);

Object value_json(const OptionValue& value) {
  return std::visit(overloaded{[](std::monostate) { return Object(); },
                               [](const ir::Integers& integers) {
                                 Object list = Object::array();
                                 for (std::int64_t i : integers) {
                                   list.push_back(i == kBatchExtent ? Object("batch") : Object(i));
                                 }
                                 return list;
                               },
                               [](const ir::TensorPointer& tensor) {
                                 std::int64_t at = 0;
                                 return tensor_json(*tensor, 0, at);
                               },
                               [](const Choice& choice) {
                                 if (choice.settings.entries().empty()) return Object(choice.name);
                                 Object object;
                                 object[choice.key] = choice.name;
                                 add_settings(object, choice.settings);
                                 return object;
                               },
                               [](const auto& plain) { return Object(plain); }},
                    value);
}

void add_settings(Object& object, const Settings& settings) {
  for (const Setting& setting : settings.entries()) {
    object[setting.name] = value_json(setting.value);
  }
}

Object names_json(const std::vector<Reference>& references) {
  if (references.size() == 1) return references[0].name;
  Object list = Object::array();
  for (const Reference& reference : references) list.push_back(reference.name);
  return list;
}

Object layer_json(const LayerSpec& layer) {
  Object object;
  object[layer.op ? "op" : "layer"] = layer.kind;
  object["name"] = layer.name;
  if (!layer.from.empty()) object["from"] = names_json(layer.from);
  if (layer.shared) object["parameters_of"] = layer.owner;
  if (layer.time_distributed) object["time_distributed"] = true;
  add_settings(object, layer.settings);
  return object;
}

void add_comparison(Object& object, const Comparison& comparison) {
  object[comparison.prediction_key] = comparison.prediction.name;
  if (comparison.number)
    object[comparison.target_key] = *comparison.number;
  else if (!comparison.target_key.empty())
    object[comparison.target_key] = comparison.target.name;
  if (comparison.weights) object["sample_weights"] = comparison.weights->name;
}

Object loss_json(const LossSpec& loss) {
  Object list = Object::array();
  for (const LossTerm& term : loss.terms) {
    Object& object = list.emplace_back();
    object["function"] = std::string(term.record->name);
    add_comparison(object, term.comparison);
    object["weight"] = term.weight;
  }
  return list.size() == 1 ? Object(list[0]) : list;
}

Object optimizer_json(const OptimizerSpec& optimizer) {
  Object object;
  object["method"] = std::string(optimizer.method->name);
  add_settings(object, optimizer.settings);
  return object;
}

Object update_json(const ModelSpec& spec, const UpdateSpec& update) {
  Object object;
  object["minimize"] = spec.losses[update.loss].name;
  if (!update.of.empty()) object["of"] = names_json(update.of);
  object["optimizer"] = optimizer_json(update.optimizer);
  object["repeat"] = update.repeat;
  return object;
}

/// One loss and one update of everything have the short form.
void add_objectives(Object& file, const ModelSpec& spec) {
  const UpdateSpec& first = spec.updates.front();
  const bool one = spec.losses.size() == 1 && spec.losses[0].name == "loss" &&
                   spec.updates.size() == 1 && first.of.empty() && first.repeat == 1;
  if (one) {
    file["loss"] = loss_json(spec.losses[0]);
  } else {
    for (const LossSpec& loss : spec.losses) file["losses"][loss.name] = loss_json(loss);
  }
  file["metrics"] = Object::object();
  for (const MetricSpec& metric : spec.metrics) {
    Object& object = file["metrics"][metric.name];
    if (metric.name != metric.record->name) object["function"] = std::string(metric.record->name);
    add_comparison(object, metric.comparison);
  }
  if (one) {
    file["optimizer"] = optimizer_json(first.optimizer);
  } else {
    for (const UpdateSpec& update : spec.updates) {
      file["updates"].push_back(update_json(spec, update));
    }
  }
}

Object training_json(const TrainingSpec& training) {
  Object object;
  if (training.epochs > 0)
    object["epochs"] = training.epochs;
  else
    object["steps"] = training.steps;
  object["batch"] = training.batch == 0 ? Object("full") : Object(training.batch);
  object["seed"] = training.seed;
  return object;
}

}  // namespace

std::string resolved_json(const ModelSpec& spec) {
  Object file;
  file["gradus"] = 1;
  file["name"] = spec.name;
  Object& data = file["data"];
  data["source"] = spec.data.source;
  for (const auto& [name, value] : spec.data.numbers) {
    const bool whole = value == std::floor(value);
    data[name] = whole ? Object(static_cast<std::int64_t>(value)) : Object(value);
  }
  for (const auto& [name, value] : spec.data.texts) data[name] = value;
  data["validation"] = spec.data.validation;
  data["shuffle"] = spec.data.shuffle;
  data["contiguous"] = spec.data.contiguous;
  Object& model = file["model"];
  for (const ModelInput& input : spec.inputs)
    model["inputs"][input.name] = to_string(input.example);
  for (const LayerSpec& layer : spec.layers) model["layers"].push_back(layer_json(layer));
  model["outputs"] = names_json(spec.outputs);
  add_objectives(file, spec);
  file["training"] = training_json(spec.training);
  return file.dump(2) + "\n";
}

}  // namespace gradus::frontend
