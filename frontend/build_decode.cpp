// Generation: one token of every sequence in, the next one out.

#include <fmt/format.h>

#include <algorithm>

#include "frontend/build.h"
#include "ir/compositions/indexing.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

/// The prediction of the next token: what a loss compares with the class that comes next.
const Comparison& next_class(const ModelSpec& spec) {
  for (const LossSpec& loss : spec.losses) {
    for (const LossTerm& term : loss.terms) {
      const bool classes = term.record->name == "sparse_categorical_cross_entropy" ||
                           term.record->name == "categorical_cross_entropy";
      if (classes) return term.comparison;
    }
  }
  throw UserError("E0214", "no generation without a loss that predicts a class",
                  spec.losses.front().where, "the loss \"sparse_categorical_cross_entropy\" does");
}

/// [batch, tokens] of what a layer gives for `count` positions: that of the last one.
Expr as_logits(const Comparison& prediction, Expr value, std::int64_t batch, std::int64_t count) {
  const Shape& shape = value.shape();
  const bool fits = shape.size() == 2 || (shape.size() == 3 && shape[1] == count);
  if (!fits || value.element() != ElementType::f32) {
    throw UserError(
        "E0214",
        fmt::format("no generation from '{}', which gives {} instead of f32[tokens] for a position",
                    prediction.prediction.name, to_string(example_type(value.type()))),
        prediction.where);
  }
  const Expr last = shape.size() == 2 || count == 1
                        ? value
                        : ir::slice(value, {0, count - 1, 0}, shape, {1, 1, 1});
  const Expr flat = ir::reshape(last, {batch, shape.back()});
  return prediction.kind() == ir::Prediction::probability ? ir::map("log", flat) : flat;
}

/// -log(-log(u)): the greatest of logits plus such numbers is drawn by the softmax of the logits.
/// Those of the last position, however many a run is given.
Expr gumbel(Forward& forward, const Shape& shape, const SourceLocation& where) {
  const std::int64_t stream = forward.streams.of("generate/sample", where);
  const Expr step = counter_input(forward.graph, "step");
  const std::int64_t before = forward.decoding->count - 1;
  const Expr u = ir::apply("random_uniform",
                           {counter_input(forward.graph, "seed"),
                            before == 0 ? step : step + static_cast<double>(before)},
                           {{"shape", shape}, {"stream", stream}});
  return -ir::map("log", -ir::map("log", u));
}

/// i32 [batch].
Expr choose(Forward& forward, Expr logits, const Sampling& sampling, const SourceLocation& where) {
  const std::int64_t batch = logits.shape()[0];
  if (sampling.tokens > 0 && sampling.tokens < logits.shape()[1]) {
    logits = ir::slice(logits, {0, 0}, {batch, sampling.tokens}, {1, 1});
  }
  if (sampling.greedy) return ir::reduce("arg_max", logits, {1});
  const auto drawn = [&](Expr values) {
    const Expr noise = gumbel(forward, values.shape(), where);
    return ir::reduce("arg_max", values / sampling.temperature + noise, {1});
  };
  if (sampling.top_k == 0 || sampling.top_k >= logits.shape()[1]) return drawn(logits);
  const ir::Sorted likeliest = ir::top_k(logits, 1, sampling.top_k);
  const Expr place = ir::reshape(drawn(likeliest.values), {batch, 1});
  return ir::reshape(ir::gather(likeliest.positions, place, 1, 1), {batch});
}

/// The inputs that these layers read.
std::vector<const ModelInput*> inputs_read(const ModelSpec& spec, const Selection& layers) {
  std::vector<const ModelInput*> read;
  for (const ModelInput& input : spec.inputs) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::vector<Reference>& from = spec.layers[i].from;
      if (!layers[i] || std::ranges::find(from, input.name, &Reference::name) == from.end())
        continue;
      read.push_back(&input);
      break;
    }
  }
  return read;
}

/// Where one comes to from a value by the first input of every layer: what queries, gates and sums
/// are of.
std::string beginning_of(const ModelSpec& spec, std::string name) {
  for (std::size_t i = spec.layers.size(); i-- > 0;) {
    const LayerSpec& layer = spec.layers[i];
    if (layer.name == name && !layer.from.empty()) name = layer.from.front().name;
  }
  return name;
}

/// What is read by position, and the sequence that is given whole, if there is one.
struct TokenInputs {
  const ModelInput* token = nullptr;
  const ModelInput* source = nullptr;
};

TokenInputs token_inputs(const ModelSpec& spec, const Selection& layers,
                         const std::string& prediction) {
  const std::vector<const ModelInput*> read = inputs_read(spec, layers);
  if (read.empty()) {
    throw UserError("E0214", "no generation without an input of tokens",
                    spec.inputs.empty() ? SourceLocation{spec.file} : spec.inputs.front().where);
  }
  const std::string begin = beginning_of(spec, prediction);
  TokenInputs inputs;
  for (const ModelInput* input : read) {
    const bool is_tokens = is_integer(input->example.element) && input->example.rank() == 1;
    const bool is_first = read.size() == 1 || input->name == begin;
    const ModelInput*& place = is_first ? inputs.token : inputs.source;
    if (is_tokens && place == nullptr) {
      place = input;
      continue;
    }
    throw UserError("E0214",
                    fmt::format("no generation with input '{}' of {}: the next token may depend on "
                                "one input of tokens, such as \"i32[128]\", and on one other "
                                "sequence of tokens, only",
                                input->name, to_string(input->example)),
                    input->where);
  }
  if (inputs.token) return inputs;
  throw UserError("E0214",
                  fmt::format("no generation from '{}', which does not begin with an input of "
                              "tokens, but with '{}'",
                              prediction, begin),
                  inputs.source->where);
}

/// How many tokens the model knows: the fewest that a layer makes vectors of; 0: none tells.
std::int64_t tokens_read(const ModelSpec& spec, const Selection& layers, const std::string& token) {
  std::int64_t fewest = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    if (!layers[i] || layer.from.empty() || layer.from.front().name != token) continue;
    for (const char* option : {"input_dim", "classes"}) {
      if (!layer.settings.find(option)) continue;
      const std::int64_t tokens = layer.settings.integer(option);
      if (fewest == 0 || tokens < fewest) fewest = tokens;
    }
  }
  return fewest;
}

/// A prediction of the next token is one of a class per token.
void check_classes(const Comparison& prediction, const Sampling& sampling, std::int64_t classes,
                   std::int64_t tokens) {
  const bool known = sampling.tokens > 0;
  if (known ? classes >= sampling.tokens : tokens == 0 || classes == tokens) return;
  throw UserError(
      "E0214",
      fmt::format("no generation from '{}', which tells one of {} classes: there are "
                  "{} tokens, one of which comes next",
                  prediction.prediction.name, classes, known ? sampling.tokens : tokens),
      prediction.where);
}

}  // namespace

DecodeProgram build_decode(const ModelSpec& spec, std::span<const LayerSummary> whole,
                           std::int64_t batch, const Sampling& sampling, std::int64_t count) {
  const Comparison& prediction = next_class(spec);
  const std::string& name = prediction.prediction.name;
  const Selection layers = layers_for(spec, {name});
  const auto [token, source] = token_inputs(spec, layers, name);
  Forward forward("decode", batch, Purpose::prediction);
  forward.whole = whole;
  const Expr position{&forward.graph, forward.graph.add_input("position", ir::InputKind::scalar,
                                                              {ElementType::i64, {}})};
  forward.decoding = Decoding{token->name, position, token->example.shape.front(), count};
  Findings findings;
  build_forward(spec, forward, layers, findings);
  findings.raise();
  forward.graph.set_provenance(
      {std::make_shared<const ir::Origin>(ir::Origin{prediction.where, "generate", {}}),
       ir::Role::forward});
  const Expr logits = as_logits(prediction, forward.values.at(name).value, batch, count);
  const std::int64_t tokens = tokens_read(spec, layers, token->name);
  check_classes(prediction, sampling, logits.shape()[1], tokens);
  forward.graph.add_result("logits", logits.value);
  forward.graph.add_result("next", choose(forward, logits, sampling, prediction.where).value);
  build_carried(forward);
  forward.graph.add_update(
      "step", (counter_input(forward.graph, "step") + static_cast<double>(count)).value);
  DecodeProgram program{std::move(forward.graph), {}, token->name, 0, tokens};
  if (forward.decoding->bounded) program.positions = forward.decoding->positions;
  for (const CarriedSpec& carried : forward.state.carried) {
    program.carried.push_back(carried_state(carried, batch));
  }
  if (source == nullptr) return program;
  SplitDecode split = split_decode(program.graph, forward.state.parameters, {&source->name, 1});
  program.graph = std::move(split.again);
  program.encode = std::move(split.once);
  program.carried.insert(program.carried.end(), split.carried.begin(), split.carried.end());
  program.source = source->name;
  program.source_positions = source->example.shape.front();
  program.source_tokens = tokens_read(spec, layers, source->name);
  return program;
}

}  // namespace gradus::frontend
