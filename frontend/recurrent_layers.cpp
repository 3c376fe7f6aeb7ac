#include <fmt/format.h>

#include <algorithm>

#include "frontend/layer_families.h"
#include "ir/compositions/activations.h"
#include "ir/compositions/recurrent.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

/// What tells the kinds of recurrent layers apart.
struct Cell {
  std::int64_t gates;
  std::int64_t biases;  // 2: the carried value's product has its own
  std::vector<std::string> carried;
  double forget_bias;  // added to what the second gate sees
  ir::RecurrenceResults (*loop)(const LayerBuilder& b, const ir::Recurrence& r);
};

/// The times that the mask behind the sequence tells, bool [time, batch]; none without a mask.
std::optional<Expr> times_of(const LayerBuilder& b) {
  const bool promised = b.settings.boolean("mask");
  if (b.inputs.size() != (promised ? 2 : 1)) {
    throw LayerError(
        fmt::format("reads a sequence{}, found {} input{}", promised ? " and a mask" : "",
                    b.inputs.size(), b.inputs.size() == 1 ? "" : "s"),
        promised ? "" : "a mask needs \"mask\": true");
  }
  if (!promised) return std::nullopt;
  const Expr mask = b.inputs[1].value;
  if (mask.shape() != Shape{b.batch, b.x().shape()[1]}) {
    throw LayerError(
        fmt::format("needs a mask of {} times, but {}", b.x().shape()[1], b.inputs[1].describe()));
  }
  const Expr there = mask.element() == ElementType::boolean
                         ? mask
                         : ir::map("not_equal", mask, ir::full_like(mask, 0));
  return ir::transpose(there, {1, 0});
}

/// Examples and times change places: [batch, time, ...] and [time, batch, ...].
Expr swapped(Expr x) { return ir::transpose(x, {1, 0, 2}); }

Expr row(Expr matrix, std::int64_t number) {
  const std::int64_t width = matrix.shape()[1];
  return ir::reshape(ir::slice(matrix, {number, 0}, {number + 1, width}, {1, 1}), {width});
}

/// `value` at [first, last), 0 elsewhere.
Expr gate_constant(ir::Graph& graph, std::int64_t width, std::int64_t first, std::int64_t last,
                   double value) {
  Tensor bias(TensorType{ElementType::f32, {width}});
  const std::span<float> elements = bias.as<float>();
  std::fill(elements.begin() + first, elements.begin() + last, static_cast<float>(value));
  return ir::constant(graph, std::move(bias));
}

/// Whether a batch goes on where the one before has ended.
bool goes_on(const LayerBuilder& b) {
  const bool stateful = b.settings.boolean("stateful");
  if (!stateful && b.decoding == nullptr) return false;
  if (b.settings.choice("direction").name == "forward") return true;
  throw LayerError(stateful ? "is stateful, which needs \"direction\": \"forward\""
                            : "begins with times yet to come");
}

/// One loop over time, its parameters under names with `prefix`.
Expr run(LayerBuilder& b, const Cell& cell, const std::string& prefix, bool backwards) {
  const std::int64_t units = b.settings.integer("units");
  const std::int64_t width = cell.gates * units;
  const auto parameter = [&](const std::string& name, const Shape& shape, bool penalised) {
    const std::string owner = b.owner;
    b.owner += prefix;
    const Expr value = penalised ? weights(b, name, shape) : b.parameter(name, shape);
    b.owner = owner;
    return value;
  };
  const Expr kernel = parameter("kernel", {b.x().shape()[2], width}, true);
  const Expr recurrent_kernel = parameter("recurrent_kernel", {units, width}, true);
  std::vector<Expr> added;  // [width]
  ir::Recurrence r{b.x(), recurrent_kernel, std::nullopt, {}, backwards};
  if (b.settings.boolean("use_bias")) {
    const bool two = cell.biases == 2;
    const Expr bias = parameter("bias", two ? Shape{2, width} : Shape{width}, false);
    added.push_back(two ? row(bias, 0) : bias);
    if (two) r.bias = row(bias, 1);
  }
  if (cell.forget_bias != 0) {
    added.push_back(gate_constant(b.graph, width, units, 2 * units, cell.forget_bias));
  }
  r.x = b.map_rows(swapped(b.x()), [&](Expr rows) {
    const std::int64_t last = rows.rank() - 1;
    Expr x = ir::dot(rows, kernel, {{}, {}, {last}, {0}});
    for (Expr bias : added) x = x + ir::broadcast(bias, x.shape(), {last});
    return x;
  });
  r.functions.activation = ir::find_activation(b.settings.choice("activation").name)->build;
  if (b.settings.find("recurrent_activation") != nullptr) {
    r.functions.recurrent =
        ir::find_activation(b.settings.choice("recurrent_activation").name)->build;
  }
  r.there = times_of(b);
  const bool continues = goes_on(b);
  for (const std::string& name : cell.carried) {
    if (continues) r.first.push_back(b.carried(name, {units}));
  }
  const ir::RecurrenceResults results = cell.loop(b, r);
  for (std::size_t i = 0; i < r.first.size(); ++i) b.carry(cell.carried[i], results.carried[i]);
  return b.settings.boolean("return_sequences") ? swapped(results.all) : results.last();
}

Expr recurrent(LayerBuilder& b, const Cell& cell) {
  need_sequence(b);
  const std::string& direction = b.settings.choice("direction").name;
  if (direction != "both") return run(b, cell, "", direction == "backward");
  const Expr forward = run(b, cell, "/forward", false);
  const Expr backward = run(b, cell, "/backward", true);
  const std::string& merge = b.settings.choice("direction").settings.choice("merge").name;
  if (merge == "sum") return forward + backward;
  if (merge == "product") return forward * backward;
  if (merge == "mean") return (forward + backward) * 0.5;
  const Expr both[] = {forward, backward};
  return ir::concat(both, forward.rank() - 1);
}

Expr simple_rnn(LayerBuilder& b) {
  return recurrent(b, {1, 1, {"hidden"}, 0, [](const LayerBuilder&, const ir::Recurrence& r) {
                         return ir::simple_rnn(r);
                       }});
}

Expr lstm(LayerBuilder& b) {
  return recurrent(b, {4,
                       1,
                       {"hidden", "cell"},
                       b.settings.number("forget_bias"),
                       [](const LayerBuilder&, const ir::Recurrence& r) { return ir::lstm(r); }});
}

Expr gru(LayerBuilder& b) {
  const bool reset_after = b.settings.boolean("reset_after");
  return recurrent(b, {3,
                       reset_after ? 2 : 1,
                       {"hidden"},
                       0,
                       [](const LayerBuilder& builder, const ir::Recurrence& r) {
                         return ir::gru(r, builder.settings.boolean("reset_after"));
                       }});
}

std::vector<Option> recurrent_options(std::vector<Option> own) {
  Option activation = activation_option();
  activation.default_value = std::string("tanh");
  activation.doc = "Of what each time gives.";
  return joined(
      {{integer_option("units", {}, "Width of what each time gives.", {1, 1e9}), activation},
       std::move(own),
       {boolean_option("return_sequences", false, "Whether all times are given, or the last one."),
        choice_option("direction", "forward", "The order of times.",
                      {{"forward", "The first one first.", {}},
                       {"backward", "The last one first.", {}},
                       {"both",
                        "Two loops with weights of their own.",
                        {choice_option("merge", "concatenate", "What is made of both.",
                                       {{"concatenate", "One behind the other.", {}},
                                        {"sum", "Their sum.", {}},
                                        {"product", "Their product.", {}},
                                        {"mean", "Half their sum.", {}}})}}}),
        boolean_option("mask", false,
                       "Whether the last input says of every time whether it is there (not 0). At "
                       "others the state stays, and what was given before is given again."),
        boolean_option("stateful", false,
                       "Whether an example begins where the same one of the batch before has "
                       "ended: with \"contiguous\" data, or without \"shuffle\". An epoch begins "
                       "at 0, and so do an evaluation and a prediction."),
        boolean_option("use_bias", true, "Whether there is a bias."),
        initializer_option("kernel", "glorot_uniform"),
        initializer_option("recurrent_kernel", "glorot_uniform"),
        initializer_option("bias", "zeros"),
        number_option("l1", 0.0, "The loss grows by l1 times the sum of |kernel|, both kernels.",
                      kNonNegative),
        number_option("l2", 0.0, "The loss grows by l2 times the sum of kernel^2, both kernels.",
                      kNonNegative)}});
}

Option gate_option() {
  return choice_option("recurrent_activation", "sigmoid", "Of the gates.",
                       activation_alternatives());
}

}  // namespace

std::vector<Layer> recurrent_layers() {
  return {
      {"simple_rnn",
       "A loop over time: h becomes activation(x · kernel + h · recurrent_kernel + bias), from 0.",
       1,
       2,
       recurrent_options({}),
       simple_rnn,
       R"({"layer": "simple_rnn", "units": 3})",
       {"f32[4,2]"},
       Decodes::by_position},
      {"lstm",
       "Long short-term memory (Hochreiter and Schmidhuber 1997): a loop over time with a cell "
       "that "
       "gates guard. Kernels hold input gate, forget gate, candidate, output gate.",
       1,
       2,
       recurrent_options(
           {gate_option(),
            number_option("forget_bias", 1.0, "Added to what the forget gate sees.", {-1e3, 1e3})}),
       lstm,
       R"({"layer": "lstm", "units": 3, "return_sequences": true})",
       {"f32[4,2]"},
       Decodes::by_position},
      {"gru",
       "Gated recurrent unit (Cho et al. 2014). Kernels hold update gate, reset gate, candidate.",
       1,
       2,
       recurrent_options(
           {gate_option(),
            boolean_option("reset_after", true,
                           "Whether the reset gate acts behind the recurrent kernel, which then "
                           "has a bias of its own, or before it.")}),
       gru,
       R"({"layer": "gru", "units": 3, "direction": "both"})",
       {"f32[4,2]"},
       Decodes::by_position},
  };
}

}  // namespace gradus::frontend
