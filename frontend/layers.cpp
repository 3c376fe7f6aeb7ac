#include "frontend/layers.h"

#include <fmt/format.h>

#include "base/hash.h"
#include "ir/compositions/activations.h"
#include "ir/op.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

template <typename Records>
std::vector<std::string> names_of(const Records& records) {
  std::vector<std::string> names;
  for (const auto& record : records) names.emplace_back(record.name);
  return names;
}

std::string hint_for(const std::string& word, const std::vector<std::string>& known) {
  const std::string near = closest(word, known);
  return near.empty() ? "" : fmt::format("did you mean \"{}\"?", near);
}

Expr dense(LayerBuilder& b) {
  const Expr x = b.input();
  const std::int64_t units = b.reader.integer("units", 1, 1);
  (void)b.reader.required("units");
  if (x.rank() < 2) {
    throw ir::TypeError("dense needs at least one axis per example, found a scalar");
  }
  const double l1 = b.reader.number("l1", 0, {0, 1e9});
  const double l2 = b.reader.number("l2", 0, {0, 1e9});
  const Expr kernel = b.parameter("kernel", {x.shape().back(), units}, "kernel_initializer",
                                  "glorot_uniform", l1, l2);
  Expr y = ir::dot(x, kernel, {{}, {}, {x.rank() - 1}, {0}});
  if (b.reader.boolean("use_bias", true)) {
    const Expr bias = b.parameter("bias", {units}, "bias_initializer", "zeros");
    y = y + ir::broadcast(bias, y.shape(), {y.rank() - 1});
  }
  return b.activate(y);
}

Expr activation(LayerBuilder& b) {
  (void)b.reader.required("function");
  return b.activate(b.input(), "function");
}

Expr flatten(LayerBuilder& b) {
  const Expr x = b.input();
  const std::int64_t batch = x.shape()[0];
  std::int64_t elements = 1;
  for (std::size_t axis = 1; axis < x.shape().size(); ++axis) elements *= x.shape()[axis];
  return ir::reshape(x, {batch, elements});
}

Expr reshape(LayerBuilder& b) {
  const Expr x = b.input();
  (void)b.reader.required("shape");
  Shape shape = b.reader.integers("shape");
  shape.insert(shape.begin(), x.shape()[0]);
  return ir::reshape(x, shape);
}

Expr dropout(LayerBuilder& b) {
  const Expr x = b.input();
  (void)b.reader.required("rate");
  const double rate = b.reader.number("rate", 0, {0, 0.999999});
  if (!b.training || rate == 0) return x;
  const Expr keep = ir::apply("random_bernoulli", {b.seed(), b.step()},
                              {{"shape", x.shape()},
                               {"stream", stream_of(b.path + "/mask")},
                               {"probability", 1 - rate}});
  return ir::select(keep, x * (1 / (1 - rate)), ir::full_like(x, 0));
}

Expr layer_norm(LayerBuilder& b) {
  const Expr x = b.input();
  if (x.rank() < 2) throw ir::TypeError("layer_norm needs an axis per example, found a scalar");
  Expr y = ir::normalize_rows(x, b.reader.number("epsilon", 1e-3, {0, 1e9}));
  const ir::Integers last{x.rank() - 1};
  if (b.reader.boolean("scale", true)) {
    const Expr gamma = b.parameter("gamma", {x.shape().back()}, "gamma_initializer", "ones");
    y = y * ir::broadcast(gamma, y.shape(), last);
  }
  if (b.reader.boolean("center", true)) {
    const Expr beta = b.parameter("beta", {x.shape().back()}, "beta_initializer", "zeros");
    y = y + ir::broadcast(beta, y.shape(), last);
  }
  return y;
}

Expr add(LayerBuilder& b) {
  if (b.inputs.size() < 2) throw ir::TypeError("add needs at least two inputs in \"from\"");
  Expr sum = b.inputs[0];
  for (std::size_t i = 1; i < b.inputs.size(); ++i) sum = sum + b.inputs[i];
  return sum;
}

Expr concatenate(LayerBuilder& b) {
  if (b.inputs.size() < 2) throw ir::TypeError("concatenate needs at least two inputs in \"from\"");
  std::int64_t axis = b.reader.integer("axis", -1, -16, 16);
  if (axis < 0) axis += b.inputs[0].rank();
  return ir::concat(b.inputs, axis);
}

constexpr Layer kLayers[] = {
    {"dense", "x · kernel + bias over the last axis, then an activation.", dense},
    {"activation", "An activation function.", activation},
    {"flatten", "All axes of an example in one.", flatten},
    {"reshape", "The elements of an example in another shape.", reshape},
    {"dropout", "Training: sets a share of the elements to 0 and scales the others up.", dropout},
    {"layer_norm", "Mean 0 and variance 1 along the last axis, then scale and center.", layer_norm},
    {"add", "Sum of several inputs of one shape.", add},
    {"concatenate", "Several inputs one after another along an axis.", concatenate},
};

/// An attribute from JSON as the op's schema wants it.
ir::Attribute attribute_of(LayerBuilder& b, const ir::AttributeSpec& spec) {
  switch (spec.kind) {
    case ir::AttributeKind::boolean:
      return b.reader.boolean(spec.name, false);
    case ir::AttributeKind::integer:
      return b.reader.integer(spec.name, 0, -(std::int64_t{1} << 40));
    case ir::AttributeKind::number:
      return b.reader.number(spec.name, 0);
    case ir::AttributeKind::integers:
      return ir::Integers(b.reader.integers(spec.name));
    case ir::AttributeKind::element_type: {
      const std::optional<ElementType> type = parse_element_type(b.reader.text(spec.name, "f32"));
      if (!type) throw ir::TypeError(fmt::format("\"{}\" is no element type", spec.name));
      return *type;
    }
    case ir::AttributeKind::text:
    case ir::AttributeKind::tensor:
      break;
  }
  throw ir::TypeError(fmt::format("attribute \"{}\" cannot be given in a model", spec.name));
}

}  // namespace

std::int64_t stream_of(const std::string& path) {
  return static_cast<std::int64_t>(hash_bytes(path.data(), path.size()) >> 32);
}

Expr LayerBuilder::input() const {
  if (inputs.size() != 1) {
    throw ir::TypeError(fmt::format("needs one input, found {}", inputs.size()));
  }
  return inputs[0];
}

Expr LayerBuilder::parameter(const std::string& name, Shape shape, std::string_view key,
                             std::string_view default_initialiser, double l1, double l2) {
  ParameterSpec spec{path + "/" + name, {ElementType::f32, std::move(shape)}, nullptr, {}, l1, l2,
                     graph.provenance()};
  std::string wanted(default_initialiser);
  const Json* json = reader.raw(key);
  std::optional<ObjectReader> options;
  if (json && json->get<Json::Object>()) {
    options.emplace(json, std::string(key), reader.findings());
    wanted = options->required_text("function");
  } else if (json) {
    wanted = reader.text(key, wanted);
  }
  spec.initialiser = ir::find_initialiser(wanted);
  if (!spec.initialiser) {
    reader.findings().add("E0205", fmt::format("unknown initialiser \"{}\"", wanted),
                          json ? json->where : reader.where(),
                          hint_for(wanted, names_of(ir::initialisers())));
    spec.initialiser = ir::find_initialiser(default_initialiser);
  }
  for (const ir::Hyperparameter& parameter : spec.initialiser->parameters) {
    spec.initialiser_parameters.push_back(
        options ? options->number(parameter.name, parameter.default_value,
                                  {parameter.least, parameter.greatest})
                : parameter.default_value);
  }
  if (options) options->finish();
  const Expr value{&graph, graph.add_input(spec.name, ir::InputKind::state, spec.type)};
  parameters_.push_back(std::move(spec));
  return value;
}

Expr LayerBuilder::activate(Expr x, std::string_view key) {
  const std::string name = reader.text(key, "linear");
  const ir::Activation* activation = ir::find_activation(name);
  if (!activation) {
    const Json* json = reader.raw(key);
    reader.findings().add("E0205", fmt::format("unknown activation \"{}\"", name), json->where,
                          hint_for(name, names_of(ir::activations())));
    return x;
  }
  return activation->build(x);
}

Expr LayerBuilder::seed() const {
  return {&graph, graph.add_input("seed", ir::InputKind::state, {ElementType::i64, {}})};
}
Expr LayerBuilder::step() const {
  return {&graph, graph.add_input("step", ir::InputKind::state, {ElementType::i64, {}})};
}

std::span<const Layer> layers() { return kLayers; }
const Layer* find_layer(std::string_view name) {
  for (const Layer& layer : kLayers) {
    if (layer.name == name) return &layer;
  }
  return nullptr;
}

Expr build_op_layer(LayerBuilder& b, const std::string& name) {
  const ir::OpRecord* record = ir::find_op(name);
  if (!record) {
    b.reader.findings().add("E0205", fmt::format("unknown op \"{}\"", name), b.reader.where(),
                            hint_for(name, names_of(ir::op_records())));
    return b.inputs.at(0);
  }
  ir::Attributes attributes;
  for (const ir::AttributeSpec& spec : record->attributes) {
    if (!spec.default_value) (void)b.reader.required(spec.name);
    if (b.reader.has(spec.name)) attributes.set(std::string(spec.name), attribute_of(b, spec));
  }
  return ir::apply(name, b.inputs, std::move(attributes));
}

}  // namespace gradus::frontend
