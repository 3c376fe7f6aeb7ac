#include "frontend/layer_families.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/compositions/activations.h"

namespace gradus::frontend {

using ir::Expr;

void need_floats(const LayerInput& input) {
  if (input.value.element() == ElementType::f32) return;
  throw LayerError("needs f32, but " + input.describe(),
                   "add { \"op\": \"cast\", \"element\": \"f32\" } before it");
}

void need_floats(const LayerBuilder& b) {
  for (const LayerInput& input : b.inputs) need_floats(input);
}

void need_indices(const LayerBuilder& b) {
  if (is_integer(b.x().element())) return;
  throw LayerError("needs integers, but " + b.inputs[0].describe(),
                   "add { \"op\": \"cast\", \"element\": \"i32\" } before it");
}

/// At least one axis beside the batch's.
void need_axis(const LayerBuilder& b) {
  if (b.x().rank() >= 2) return;
  throw LayerError("needs at least one axis per example, but " + b.inputs[0].describe(),
                   "add { \"layer\": \"reshape\", \"shape\": [1] } before it");
}

void need_image(const LayerBuilder& b, std::int64_t spatial) {
  need_floats(b);
  if (b.x().rank() == spatial + 2) return;
  constexpr std::string_view names[] = {"", "length, channels", "height, width, channels",
                                        "depth, height, width, channels"};
  throw LayerError(fmt::format("needs {} axes per example ({}), but {}", spatial + 1,
                               names[static_cast<std::size_t>(spatial)], b.inputs[0].describe()),
                   b.x().rank() == spatial + 1
                       ? "a \"reshape\" layer before it can add the axis of channels"
                       : "");
}

void need_sequence(const LayerBuilder& b) {
  need_floats(b.inputs[0]);
  if (b.x().rank() == 3) return;
  throw LayerError(
      "needs 2 axes per example (positions, features), but " + b.inputs[0].describe(),
      b.x().rank() == 2 ? R"(add { "layer": "reshape", "shape": [..., 1] } before it)" : "");
}

ir::Integers all_axes(Expr x) {
  ir::Integers axes;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) axes.push_back(axis);
  return axes;
}

Expr draw(const LayerBuilder& b, std::string_view op, const Shape& shape, const std::string& role) {
  return ir::apply(op, {b.seed(), b.step()},
                   {{"shape", shape}, {"stream", b.streams.of(b.path + "/" + role, b.where)}});
}

Expr drop_elements(const LayerBuilder& b, Expr x, double rate, std::int64_t stream,
                   const ir::Integers& axes) {
  Shape shape;
  for (std::int64_t axis : axes) shape.push_back(x.shape()[static_cast<std::size_t>(axis)]);
  const Expr chosen = ir::apply("random_bernoulli", {b.seed(), b.step()},
                                {{"shape", shape}, {"stream", stream}, {"probability", 1 - rate}});
  const Expr keep = shape == x.shape() ? chosen : ir::broadcast(chosen, x.shape(), axes);
  return ir::select(keep, x * (1 / (1 - rate)), ir::full_like(x, 0));
}

namespace {

bool is_same(const Choice& a, const Choice& b) {
  return a.name == b.name &&
         std::ranges::equal(
             a.settings.entries(), b.settings.entries(), [](const Setting& x, const Setting& y) {
               return x.name == y.name && std::get<double>(x.value) == std::get<double>(y.value);
             });
}

}  // namespace

Expr embedding_table(const LayerBuilder& b, const std::string& embedding, const Shape& shape,
                     const std::string& parameter, std::string_view initializer) {
  const auto given = [&](std::string_view penalty) {
    return b.settings.find(penalty) && b.settings.number(penalty) > 0;
  };
  const Option own[] = {initializer_option(parameter, std::string(initializer))};
  const Choice& start = b.settings.choice(own[0].name);
  const Settings defaults = defaults_of(own, b.where);
  if (!is_same(start, defaults.choice(own[0].name)) || given("l1") || given("l2")) {
    throw LayerError(fmt::format("is tied to '{}' and has no {} of its own to start or to penalise",
                                 embedding, parameter),
                     fmt::format("say it of '{}'", embedding));
  }
  const auto table = b.state.values.find(embedding + "/embeddings");
  if (table == b.state.values.end()) {
    throw LayerError(fmt::format("is tied to '{}', which is no embedding before it", embedding));
  }
  const Expr rows = table->second;
  if (rows.shape() == shape) return rows;
  throw LayerError(fmt::format("needs a table of {}, but '{}' has one of {}", to_string(shape),
                               embedding, to_string(rows.shape())));
}

std::vector<Alternative> activation_alternatives() {
  std::vector<Alternative> alternatives;
  for (const ir::Activation& activation : ir::activations()) {
    alternatives.push_back({std::string(activation.name), std::string(activation.doc), {}});
  }
  return alternatives;
}

Option activation_option() {
  return choice_option("activation", "linear", "Applied to the result.", activation_alternatives());
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

std::vector<Option> joined(std::initializer_list<std::vector<Option>> lists) {
  std::vector<Option> all;
  for (const std::vector<Option>& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

std::vector<Option> weight_options(const std::vector<std::string>& kernels) {
  std::vector<Option> initializers;
  for (const std::string& kernel : kernels) {
    initializers.push_back(initializer_option(kernel, kKernelInitializer));
  }
  return joined(
      {{activation_option(), boolean_option("use_bias", true, "Whether there is a bias.")},
       initializers,
       {initializer_option("bias", "zeros"),
        number_option("l1", 0.0, "The loss grows by l1 times the sum of |kernel|.", kNonNegative),
        number_option("l2", 0.0, "The loss grows by l2 times the sum of kernel^2.",
                      kNonNegative)}});
}

Expr weights(LayerBuilder& b, const std::string& name, const Shape& shape) {
  return b.parameter(name, shape, b.settings.number("l1"), b.settings.number("l2"));
}

Expr add_bias_and_activate(LayerBuilder& b, Expr x) {
  if (b.settings.boolean("use_bias")) {
    x = x + ir::broadcast(b.parameter("bias", {x.shape().back()}), x.shape(), {x.rank() - 1});
  }
  return b.activate(x, "activation");
}

Option padding_option() {
  Option option = choice_option(
      "padding", "valid", "Places beyond the borders: \"valid\", \"same\", or a number.",
      {{"places",
        "As many on either side.",
        {integer_option("amount", std::int64_t{0}, "On either side.", {0, 1e6})}},
       {"valid", "None.", {}},
       {"same", "So many that there are ceil(places / stride) results.", {}}});
  option.shorthand = "amount";
  return option;
}

Padding padding_of(const LayerBuilder& b, std::int64_t places, std::int64_t reach,
                   std::int64_t stride) {
  const Choice& choice = b.settings.choice("padding");
  if (choice.name == "places") {
    const std::int64_t amount = choice.settings.integer("amount");
    return {amount, amount};
  }
  if (choice.name == "valid") return {};
  const std::int64_t outputs = (places + stride - 1) / stride;
  const std::int64_t all = std::max<std::int64_t>((outputs - 1) * stride + reach - places, 0);
  return {all / 2, all - all / 2};
}

}  // namespace gradus::frontend
