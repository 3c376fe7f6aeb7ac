#include "frontend/layers.h"

#include <fmt/format.h>

#include "frontend/layer_families.h"
#include "ir/compositions/activations.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

std::vector<Layer> make_layers() {
  std::vector<Layer> result;
  for (auto* family : {basic_layers, convolution_layers, pooling_layers, resizing_layers,
                       normalisation_layers, sequence_layers, attention_layers}) {
    for (Layer& layer : family()) result.push_back(std::move(layer));
  }
  return result;
}

}  // namespace

Expr counter_input(ir::Graph& graph, const std::string& name) {
  return {&graph, graph.add_input(name, ir::InputKind::state, {ElementType::i64, {}})};
}

TensorType example_type(const TensorType& type) {
  TensorType example = type;
  if (!example.shape.empty()) example.shape.erase(example.shape.begin());
  return example;
}

double size_of(const Shape& shape) {
  double size = 1;
  for (std::int64_t extent : shape) size *= static_cast<double>(extent);
  return size;
}

std::string LayerInput::describe() const {
  const std::string type = to_string(example_type(value.type()));
  if (line == 0) return fmt::format("'{}' gives {}", name, type);
  return fmt::format("'{}' (line {}) gives {}", name, line, type);
}

Expr LayerBuilder::parameter(const std::string& name, Shape shape, double l1, double l2) {
  if (!is_valid(shape)) {
    throw LayerError(fmt::format("would have a {} of {}: too large", name, to_string(shape)));
  }
  if (graph.find_input(path + "/" + name)) {
    throw LayerError(
        fmt::format("has a {} of the name \"{}/{}\", which is taken", name, path, name));
  }
  const Choice& choice = settings.choice(name + "_initializer");
  ParameterSpec spec{path + "/" + name,
                     {ElementType::f32, std::move(shape)},
                     ir::find_initialiser(choice.name),
                     {},
                     l1,
                     l2,
                     graph.provenance(),
                     true};
  for (const Setting& setting : choice.settings.entries()) {
    spec.initialiser_parameters.push_back(std::get<double>(setting.value));
  }
  const Expr value{&graph, graph.add_input(spec.name, ir::InputKind::state, spec.type)};
  parameters.push_back(std::move(spec));
  return value;
}

Expr LayerBuilder::statistic(const std::string& name, Shape shape) {
  const Expr value = parameter(name, std::move(shape));
  parameters.back().trained = false;
  return value;
}

void LayerBuilder::update(const std::string& name, Expr value) {
  if (training) updates.push_back({path + "/" + name, value, graph.provenance()});
}

Expr LayerBuilder::activate(Expr value, std::string_view name) const {
  return ir::find_activation(settings.choice(name).name)->build(value);
}

std::span<const Layer> layers() {
  static const std::vector<Layer> records = make_layers();
  return records;
}

const Layer* find_layer(std::string_view name) {
  for (const Layer& layer : layers()) {
    if (layer.name == name) return &layer;
  }
  return nullptr;
}

}  // namespace gradus::frontend
