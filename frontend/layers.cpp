#include "frontend/layers.h"

#include <fmt/format.h>

#include "ir/compositions/activations.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

constexpr Range kNonNegative{0, 1e9};

void need_floats(const LayerBuilder& b) {
  for (const LayerInput& input : b.inputs) {
    if (input.value.element() == ElementType::f32) continue;
    throw LayerError("needs f32, but " + input.describe(),
                     "add { \"op\": \"cast\", \"element\": \"f32\" } before it");
  }
}

/// At least one axis beside the batch's.
void need_axis(const LayerBuilder& b) {
  if (b.x().rank() >= 2) return;
  throw LayerError("needs at least one axis per example, but " + b.inputs[0].describe(),
                   "add { \"layer\": \"reshape\", \"shape\": [1] } before it");
}

Expr dense(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  const Expr x = b.x();
  const std::int64_t units = b.settings.integer("units");
  const Expr kernel = b.parameter("kernel", {x.shape().back(), units}, b.settings.number("l1"),
                                  b.settings.number("l2"));
  Expr y = ir::dot(x, kernel, {{}, {}, {x.rank() - 1}, {0}});
  if (b.settings.boolean("use_bias")) {
    y = y + ir::broadcast(b.parameter("bias", {units}), y.shape(), {y.rank() - 1});
  }
  return b.activate(y, "activation");
}

Expr activation(LayerBuilder& b) {
  need_floats(b);
  return b.activate(b.x(), "function");
}

Expr flatten(LayerBuilder& b) {
  return ir::reshape(b.x(), {b.batch, element_count(example_type(b.x().type()).shape)});
}

Expr reshape(LayerBuilder& b) {
  Shape shape = b.settings.integers("shape");
  if (size_of(shape) != size_of(example_type(b.x().type()).shape)) {
    throw LayerError(fmt::format("to {} needs {} elements, but {}", to_string(shape),
                                 size_of(shape), b.inputs[0].describe()));
  }
  shape.insert(shape.begin(), b.batch);
  return ir::reshape(b.x(), shape);
}

Expr dropout(LayerBuilder& b) {
  need_floats(b);
  const Expr x = b.x();
  const double rate = b.settings.number("rate");
  const std::int64_t stream = b.streams.of(b.path + "/mask", b.where);
  if (!b.training || rate == 0) return x;
  const Expr keep = ir::apply(
      "random_bernoulli", {counter_input(b.graph, "seed"), counter_input(b.graph, "step")},
      {{"shape", x.shape()}, {"stream", stream}, {"probability", 1 - rate}});
  return ir::select(keep, x * (1 / (1 - rate)), ir::full_like(x, 0));
}

Expr layer_norm(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  const Expr x = b.x();
  const ir::Integers last{x.rank() - 1};
  const Shape width{x.shape().back()};
  Expr y = ir::normalize_rows(x, b.settings.number("epsilon"));
  if (b.settings.boolean("scale")) {
    y = y * ir::broadcast(b.parameter("gamma", width), y.shape(), last);
  }
  if (b.settings.boolean("center")) {
    y = y + ir::broadcast(b.parameter("beta", width), y.shape(), last);
  }
  return y;
}

Expr add(LayerBuilder& b) {
  Expr sum = b.x();
  for (std::size_t i = 1; i < b.inputs.size(); ++i) {
    const LayerInput& input = b.inputs[i];
    if (input.value.type() != sum.type()) {
      throw LayerError(fmt::format("needs inputs of one type, but {} and {}",
                                   b.inputs[0].describe(), input.describe()));
    }
    sum = sum + input.value;
  }
  return sum;
}

Expr concatenate(LayerBuilder& b) {
  const std::int64_t given = b.settings.integer("axis");
  const std::int64_t rank = b.x().rank() - 1;
  const std::int64_t axis = given < 0 ? given + rank : given;
  if (axis < 0 || axis >= rank) {
    throw LayerError(
        fmt::format("along axis {} of an example, but {}", given, b.inputs[0].describe()));
  }
  std::vector<Expr> values;
  for (const LayerInput& input : b.inputs) {
    TensorType type = input.value.type();
    if (type.rank() == rank + 1) {
      type.shape[static_cast<std::size_t>(axis + 1)] =
          b.x().shape()[static_cast<std::size_t>(axis + 1)];
    }
    if (type != b.x().type()) {
      throw LayerError(fmt::format("needs inputs that differ along axis {} only, but {} and {}",
                                   given, b.inputs[0].describe(), input.describe()));
    }
    values.push_back(input.value);
  }
  return ir::concat(values, axis + 1);
}

std::vector<Alternative> activation_alternatives() {
  std::vector<Alternative> alternatives;
  for (const ir::Activation& activation : ir::activations()) {
    alternatives.push_back({std::string(activation.name), std::string(activation.doc), {}});
  }
  return alternatives;
}

Option initializer_option(const std::string& parameter, const std::string& name) {
  std::vector<Alternative> alternatives;
  for (const ir::Initialiser& initialiser : ir::initialisers()) {
    std::vector<Option> options;
    for (const ir::Hyperparameter& p : initialiser.parameters) {
      options.push_back(number_option(std::string(p.name), p.default_value, std::string(p.doc),
                                      {p.least, p.greatest}));
    }
    alternatives.push_back(
        {std::string(initialiser.name), std::string(initialiser.doc), std::move(options)});
  }
  return choice_option(parameter + "_initializer", name, "First values of the " + parameter + ".",
                       std::move(alternatives));
}

std::vector<Layer> make_layers() {
  const Option activation_function =
      choice_option("activation", "linear", "Applied to the result.", activation_alternatives());
  return {
      {"dense",
       "x · kernel + bias over the last axis, then an activation.",
       1,
       1,
       {integer_option("units", {}, "Extent of the result's last axis.", {1, 1e9}),
        activation_function, boolean_option("use_bias", true, "Whether there is a bias."),
        initializer_option("kernel", "glorot_uniform"), initializer_option("bias", "zeros"),
        number_option("l1", 0.0, "The loss grows by l1 times the sum of |kernel|.", kNonNegative),
        number_option("l2", 0.0, "The loss grows by l2 times the sum of kernel^2.", kNonNegative)},
       dense,
       R"({"layer": "dense", "units": 3, "activation": "relu"})",
       {"f32[5]"}},
      {"activation",
       "An activation function.",
       1,
       1,
       {choice_option("function", {}, "Which one.", activation_alternatives())},
       activation,
       R"({"layer": "activation", "function": "gelu"})",
       {"f32[5]"}},
      {"flatten",
       "All axes of an example in one.",
       1,
       1,
       {},
       flatten,
       R"({"layer": "flatten"})",
       {"f32[2,3]"}},
      {"reshape",
       "The elements of an example in another shape.",
       1,
       1,
       {integers_option("shape", {}, "Extents of the new shape.", {1, kWhole})},
       reshape,
       R"({"layer": "reshape", "shape": [3, 2]})",
       {"f32[6]"}},
      {"dropout",
       "In training each element becomes 0 with probability rate, else it is divided by 1 - rate.",
       1,
       1,
       {number_option("rate", {}, "Share of elements that become 0.", {0, 1, true})},
       dropout,
       R"({"layer": "dropout", "rate": 0.5})",
       {"f32[5]"}},
      {"layer_norm",
       "Mean 0 and variance 1 along the last axis, then times gamma plus beta.",
       1,
       1,
       {number_option("epsilon", 1e-3, "Added to the variance.", kNonNegative),
        boolean_option("center", true, "Whether there is a beta."),
        boolean_option("scale", true, "Whether there is a gamma."),
        initializer_option("beta", "zeros"), initializer_option("gamma", "ones")},
       layer_norm,
       R"({"layer": "layer_norm"})",
       {"f32[5]"}},
      {"add",
       "Sum of several inputs of one type.",
       2,
       -1,
       {},
       add,
       R"({"layer": "add"})",
       {"f32[5]", "f32[5]"}},
      {"concatenate",
       "Several inputs one after another along an axis.",
       2,
       -1,
       {integer_option("axis", std::int64_t{-1}, "Axis of an example; -1 is the last.", {-16, 16})},
       concatenate,
       R"({"layer": "concatenate"})",
       {"f32[5]", "f32[2]"}},
  };
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
  const Choice& choice = settings.choice(name + "_initializer");
  ParameterSpec spec{path + "/" + name,
                     {ElementType::f32, std::move(shape)},
                     ir::find_initialiser(choice.name),
                     {},
                     l1,
                     l2,
                     graph.provenance()};
  for (const Setting& setting : choice.settings.entries()) {
    spec.initialiser_parameters.push_back(std::get<double>(setting.value));
  }
  const Expr value{&graph, graph.add_input(spec.name, ir::InputKind::state, spec.type)};
  parameters.push_back(std::move(spec));
  return value;
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
