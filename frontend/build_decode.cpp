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

/// [batch, tokens] of what a layer gives for one position.
Expr as_logits(const Comparison& prediction, Expr value, std::int64_t batch) {
  const Shape& shape = value.shape();
  const bool one = shape.size() == 2 || (shape.size() == 3 && shape[1] == 1);
  if (!one || value.element() != ElementType::f32) {
    throw UserError(
        "E0214",
        fmt::format("no generation from '{}', which gives {} instead of f32[tokens] for a position",
                    prediction.prediction.name, to_string(example_type(value.type()))),
        prediction.where);
  }
  const Expr flat = ir::reshape(value, {batch, shape.back()});
  return prediction.kind() == ir::Prediction::probability ? ir::map("log", flat) : flat;
}

/// -log(-log(u)): the greatest of logits plus such numbers is drawn by the softmax of the logits.
Expr gumbel(Forward& forward, const Shape& shape, const SourceLocation& where) {
  const std::int64_t stream = forward.streams.of("generate/sample", where);
  const Expr u =
      ir::apply("random_uniform",
                {counter_input(forward.graph, "seed"), counter_input(forward.graph, "step")},
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

/// The input of tokens: the only one that these layers read.
const ModelInput& token_input(const ModelSpec& spec, const Selection& layers) {
  std::vector<const ModelInput*> read;
  for (const ModelInput& input : spec.inputs) {
    bool used = false;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      used = used ||
             (layers[i] && std::ranges::find(spec.layers[i].from, input.name, &Reference::name) !=
                               spec.layers[i].from.end());
    }
    if (used) read.push_back(&input);
  }
  const auto is_token = [](const ModelInput* input) {
    return is_integer(input->example.element) && input->example.rank() == 1;
  };
  if (read.size() == 1 && is_token(read.front())) return *read.front();
  if (read.empty()) {
    throw UserError("E0214", "no generation without an input of tokens",
                    spec.inputs.empty() ? SourceLocation{spec.file} : spec.inputs.front().where);
  }
  const ModelInput& wrong = is_token(read.front()) ? *read.back() : *read.front();
  throw UserError("E0214",
                  fmt::format("no generation with input '{}' of {}: the next token may depend on "
                              "one input of tokens, such as \"i32[128]\", only",
                              wrong.name, to_string(wrong.example)),
                  wrong.where);
}

}  // namespace

DecodeProgram build_decode(const ModelSpec& spec, std::span<const LayerSummary> whole,
                           std::int64_t batch, const Sampling& sampling) {
  const Comparison& prediction = next_class(spec);
  const Selection layers = layers_for(spec, {prediction.prediction.name});
  const ModelInput& token = token_input(spec, layers);
  Forward forward("decode", batch, false);
  forward.whole = whole;
  const Expr position{&forward.graph, forward.graph.add_input("position", ir::InputKind::scalar,
                                                              {ElementType::i64, {}})};
  forward.decoding = Decoding{position, token.example.shape.front()};
  Findings findings;
  build_forward(spec, forward, layers, findings);
  findings.raise();
  forward.graph.set_provenance(
      {std::make_shared<const ir::Origin>(ir::Origin{prediction.where, "generate", {}}),
       ir::Role::forward});
  const Expr logits =
      as_logits(prediction, forward.values.at(prediction.prediction.name).value, batch);
  forward.graph.add_result("logits", logits.value);
  forward.graph.add_result("next", choose(forward, logits, sampling, prediction.where).value);
  build_carried(forward);
  forward.graph.add_update("step", (counter_input(forward.graph, "step") + 1).value);
  DecodeProgram program{std::move(forward.graph), {}, token.name, 0};
  if (forward.decoding->bounded) program.positions = forward.decoding->positions;
  for (const CarriedSpec& carried : forward.state.carried) {
    program.carried.push_back(carried_state(carried, batch));
  }
  return program;
}

}  // namespace gradus::frontend
