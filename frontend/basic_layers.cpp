#include <fmt/format.h>

#include "frontend/layer_families.h"
#include "ir/compositions/activations.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

Expr dense(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  const std::int64_t width = b.x().shape().back();
  const std::int64_t units = b.settings.integer("units");
  const std::string& embedding = b.settings.text("tied_to");
  const bool tied = !embedding.empty();
  const Expr kernel =
      tied ? embedding_table(b, embedding, {units, width}, "kernel", kKernelInitializer)
           : weights(b, "kernel", {width, units});
  return b.map_rows(b.x(), [&](Expr x) {
    return add_bias_and_activate(b, ir::dot(x, kernel, {{}, {}, {x.rank() - 1}, {tied ? 1 : 0}}));
  });
}

Expr activation(LayerBuilder& b) {
  need_floats(b);
  return b.activate(b.x(), "function");
}

Expr leaky_relu(LayerBuilder& b) {
  need_floats(b);
  return ir::leaky_relu(b.x(), b.settings.number("negative_slope"));
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

Expr drop(LayerBuilder& b, const ir::Integers& axes) {
  need_floats(b);
  const double rate = b.settings.number("rate");
  const std::int64_t stream = b.streams.of(b.path + "/mask", b.where);
  return b.training() && rate != 0 ? drop_elements(b, b.x(), rate, stream, axes) : b.x();
}

Expr dropout(LayerBuilder& b) { return drop(b, all_axes(b.x())); }

Expr spatial_dropout(LayerBuilder& b) {
  need_axis(b);
  return drop(b, {0, b.x().rank() - 1});
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
  if (b.decoding != nullptr && axis == 0 && rank > 1) {
    throw LayerError("joins positions of several sequences");
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

}  // namespace

std::vector<Layer> basic_layers() {
  return {
      {"dense",
       "x · kernel + bias over the last axis, then an activation.",
       1,
       1,
       joined({{integer_option("units", {}, "Extent of the result's last axis.", {1, 1e9}),
                text_option("tied_to", std::string(),
                            "Name of an embedding whose table, transposed, is the kernel (Press "
                            "and Wolf 2016); its own when absent.")},
               weight_options()}),
       dense,
       R"({"layer": "dense", "units": 3, "activation": "relu"})",
       {"f32[5]"},
       Decodes::features},
      {"activation",
       "An activation function.",
       1,
       1,
       {choice_option("function", {}, "Which one.", activation_alternatives())},
       activation,
       R"({"layer": "activation", "function": "gelu"})",
       {"f32[5]"},
       Decodes::features},
      {"leaky_relu",
       "The activation of that name with a slope of one's own.",
       1,
       1,
       {number_option("negative_slope", 0.3, "x below 0 is multiplied by it.", kNonNegative)},
       leaky_relu,
       R"({"layer": "leaky_relu", "negative_slope": 0.2})",
       {"f32[5]"},
       Decodes::elements},
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
       {"f32[5]"},
       Decodes::elements},
      {"spatial_dropout",
       "As dropout, for all places of a channel together.",
       1,
       1,
       {number_option("rate", {}, "Share of channels that become 0.", {0, 1, true})},
       spatial_dropout,
       R"({"layer": "spatial_dropout", "rate": 0.5})",
       {"f32[4,3]"},
       Decodes::elements},
      {"add",
       "Sum of several inputs of one type.",
       2,
       -1,
       {},
       add,
       R"({"layer": "add"})",
       {"f32[5]", "f32[5]"},
       Decodes::elements},
      {"concatenate",
       "Several inputs one after another along an axis.",
       2,
       -1,
       {integer_option("axis", std::int64_t{-1}, "Axis of an example; -1 is the last.", {-16, 16})},
       concatenate,
       R"({"layer": "concatenate"})",
       {"f32[5]", "f32[2]"},
       Decodes::features},
  };
}

}  // namespace gradus::frontend
