#include "frontend/layers.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/layer_families.h"
#include "ir/compositions/activations.h"
#include "ir/compositions/indexing.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

std::vector<Layer> make_layers() {
  std::vector<Layer> result;
  for (auto* family :
       {basic_layers, convolution_layers, pooling_layers, resizing_layers, normalisation_layers,
        recurrent_layers, random_layers, augmentation_layers, sequence_layers, attention_layers}) {
    for (Layer& layer : family()) result.push_back(std::move(layer));
  }
  return result;
}

/// Two layers have one parameter only if they want the same.
void check_shared(const LayerBuilder& b, const std::string& name, const ParameterSpec& wanted) {
  const auto first = std::ranges::find(b.state.parameters, wanted.name, &ParameterSpec::name);
  if (first == b.state.parameters.end()) return;  // a part of the model that was checked as a whole
  const std::string shares =
      fmt::format("but shares \"{}\" (line {})", wanted.name, first->where().line);
  if (wanted.type != first->type) {
    throw LayerError(fmt::format("needs a {} of {}, {}, which is {}", name, to_string(wanted.type),
                                 shares, to_string(first->type)),
                     "all uses of a module read the same shape");
  }
  if (wanted.initialiser != first->initialiser ||
      wanted.initialiser_parameters != first->initialiser_parameters) {
    throw LayerError(fmt::format("has another {}_initializer, {}", name, shares),
                     "write the same in both, or none");
  }
  if (wanted.l1 != first->l1 || wanted.l2 != first->l2) {
    throw LayerError(fmt::format("has other penalties of its {}, {}", name, shares),
                     "write the same \"l1\" and \"l2\" in both, or none");
  }
}

}  // namespace

Expr random_counter(ir::Graph& graph, const std::string& name, const Run& run) {
  const Expr counter = counter_input(graph, name);
  if (name == "seed" || run.count == 1) return counter;
  return counter * static_cast<double>(run.count) + static_cast<double>(run.index);
}

Expr examples_of(Expr all, std::int64_t first, std::int64_t count) {
  if (count == all.shape()[0]) return all;
  ir::Integers start(all.shape().size(), 0);
  Shape limit = all.shape();
  start[0] = first;
  limit[0] = first + count;
  return ir::slice(all, start, limit, ir::Integers(start.size(), 1));
}

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
  const std::string what = by_time ? "every time of " : "";
  if (line == 0) return fmt::format("{}'{}' gives {}", what, name, type);
  return fmt::format("{}'{}' (line {}) gives {}", what, name, line, type);
}

Expr LayerBuilder::parameter(const std::string& name, Shape shape, double l1, double l2) {
  if (!is_valid(shape)) {
    throw LayerError(fmt::format("would have a {} of {}: too large", name, to_string(shape)));
  }
  const std::string full = owner + "/" + name;
  const TensorType type{ElementType::f32, std::move(shape)};
  const auto known = state.values.find(full);
  const bool is_input = known == state.values.end() && graph.find_input(full);
  if ((!state.taken.insert(full).second && !shared) || is_input) {
    throw LayerError(fmt::format("has a {} of the name \"{}\", which is taken", name, full));
  }
  const Choice& choice = settings.choice(name + "_initializer");
  ParameterSpec spec{full, type, ir::find_initialiser(choice.name), {}, l1, l2, graph.provenance(),
                     true};
  for (const Setting& setting : choice.settings.entries()) {
    spec.initialiser_parameters.push_back(std::get<double>(setting.value));
  }
  if (known != state.values.end()) {
    check_shared(*this, name, spec);
    return known->second;
  }
  const Expr value{&graph, graph.add_input(spec.name, ir::InputKind::state, spec.type)};
  state.values.emplace(full, value);
  state.parameters.push_back(std::move(spec));
  return value;
}

Expr LayerBuilder::statistic(const std::string& name, Shape shape) {
  const std::size_t before = state.parameters.size();
  const Expr value = parameter(name, std::move(shape));
  if (state.parameters.size() > before) state.parameters.back().trained = false;
  return value;
}

void LayerBuilder::update(const std::string& name, Expr value) {
  if (training()) state.values.insert_or_assign(owner + "/" + name, value);
}

Expr LayerBuilder::carried(const std::string& name, const Shape& example) {
  if (batch > carried_batch) {
    throw LayerError(fmt::format("carries the state of {} examples, but the batch has {}",
                                 carried_batch, batch));
  }
  Shape shape = example;
  shape.insert(shape.begin(), carried_batch);
  if (!is_valid(shape)) {
    throw LayerError(fmt::format("would carry {} of {}: too large", name, to_string(shape)));
  }
  const std::string full = path + "/" + name;
  if (graph.find_input(full)) {
    throw LayerError(fmt::format("carries \"{}\", a name that is taken", full));
  }
  const Expr all{&graph, graph.add_input(full, ir::InputKind::state, {ElementType::f32, shape})};
  state.values.emplace(full, all);
  state.carried.push_back({full, {ElementType::f32, example}, graph.provenance()});
  return examples_of(all, 0, batch);
}

/// Of examples that the batch does not have, the state stays.
void LayerBuilder::carry(const std::string& name, Expr value) {
  Expr& all = state.values.at(path + "/" + name);
  if (batch == carried_batch) {
    all = value;
    return;
  }
  const Expr parts[] = {value, examples_of(all, batch, carried_batch - batch)};
  all = ir::concat(parts, 0);
}

std::int64_t LayerBuilder::positions_of(Expr x) {
  if (decoding == nullptr) return x.shape()[1];
  decoding->bounded = true;
  return decoding->positions;
}

Expr LayerBuilder::at_positions(Expr table) const {
  if (decoding == nullptr) return table;
  if (decoding->count > 1) {
    Shape limit = table.shape();
    limit.front() = decoding->count;
    return ir::slice(table, ir::Integers(limit.size(), 0), limit, ir::Integers(limit.size(), 1));
  }
  return ir::gather(table, ir::reshape(decoding->position, {1}), 0);
}

Expr LayerBuilder::seed() const { return random_counter(graph, "seed", run); }
Expr LayerBuilder::step() const { return random_counter(graph, "step", run); }

Expr LayerBuilder::map_rows(Expr x, const std::function<Expr(Expr)>& f) const {
  return differentiated ? f(x) : ir::map_rows(x, f);
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
