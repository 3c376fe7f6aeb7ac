#include <fmt/format.h>

#include <algorithm>
#include <regex>

#include "frontend/build.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

ir::Provenance provenance_of(const SourceLocation& where, std::string layer, ir::Role role,
                             BlockUses uses = {}) {
  return {std::make_shared<const ir::Origin>(ir::Origin{where, std::move(layer), std::move(uses)}),
          role};
}

/// `text` with "batch" for the batch size that stands for any.
std::string name_batch(const std::string& text) {
  static const std::regex number(R"(\b)" + std::to_string(kAnyBatch) + R"(\b)");
  return std::regex_replace(text, number, "batch");
}

/// The input or layer of that name; empty when it failed before.
std::optional<LayerInput> value_of(const ModelSpec& spec, Forward& forward, const std::string& name,
                                   Findings& findings) {
  if (forward.failed.contains(name)) return std::nullopt;
  if (name == "seed" || name == "step")
    return LayerInput{name, 0, counter_input(forward.graph, name)};
  const auto known = forward.values.find(name);
  if (known != forward.values.end()) return known->second;
  const auto input = std::ranges::find(spec.inputs, name, &ModelInput::name);
  GRADUS_CHECK(input != spec.inputs.end(), "an unchecked name: " + name);
  TensorType type = input->example;
  type.shape.insert(type.shape.begin(), forward.batch);
  if (!is_valid(type.shape)) {
    findings.add("E0204",
                 name_batch(fmt::format("input '{}' is too large: {}", name, to_string(type))),
                 input->where);
    forward.failed.insert(name);
    return std::nullopt;
  }
  const ir::ProvenanceScope scope(forward.graph,
                                  provenance_of(input->where, name, ir::Role::forward));
  const Expr value{&forward.graph, forward.graph.add_input(name, ir::InputKind::batch, type)};
  return forward.values.emplace(name, LayerInput{name, input->where.line, value}).first->second;
}

std::string sources_of(const std::vector<LayerInput>& inputs) {
  std::string text;
  for (const LayerInput& input : inputs) text += "; " + input.describe();
  return text;
}

void check_count(const LayerSpec& spec, std::size_t inputs) {
  if (!spec.layer) return;  // the op checks its operands
  const auto found = static_cast<int>(inputs);
  const int least = spec.layer->least_inputs;
  const int most = spec.layer->most_inputs;
  if (found >= least && (most < 0 || found <= most)) return;
  throw LayerError(fmt::format("reads {}{} input{}, found {}", most < 0 ? "at least " : "", least,
                               least == 1 ? "" : "s", found),
                   found < least ? "name them: \"from\": [\"a\", \"b\"]" : "");
}

/// Layers keep the batch axis; ops may do as they like.
void check_result(const LayerSpec& spec, Expr result, std::int64_t batch) {
  if (!spec.layer || (result.rank() > 0 && result.shape()[0] == batch)) return;
  throw LayerError("loses the batch axis: it gives " + to_string(result.type()));
}

Expr build_layer(const LayerSpec& spec, Forward& forward, const std::vector<LayerInput>& inputs,
                 Findings& findings) {
  LayerBuilder builder{forward.graph,      spec.settings,  spec.name, spec.where,
                       forward.training,   forward.batch,  inputs,    forward.streams,
                       forward.parameters, forward.updates};
  const auto report = [&](const std::string& message, const std::string& hint) {
    const std::string who = spec.named ? fmt::format("{} '{}'", spec.kind, spec.name) : spec.kind;
    const BlockScope found(findings, spec.uses);
    findings.add("E0204", name_batch(fmt::format("{} {}", who, message)), spec.where, hint);
  };
  try {
    check_count(spec, inputs.size());
    const Expr result = spec.layer ? spec.layer->build(builder) : build_op(builder, *spec.op);
    check_result(spec, result, forward.batch);
    return result;
  } catch (const LayerError& error) {
    report(error.what(), error.hint);
  } catch (const ir::TypeError& error) {
    report(fmt::format("does not fit: {}{}", error.what(), sources_of(inputs)), "");
  }
  return {};
}

/// The two sides of a comparison; empty when one of them failed before.
std::vector<LayerInput> sides(const ModelSpec& spec, Forward& forward, const Comparison& comparison,
                              Findings& findings) {
  std::vector<LayerInput> result;
  for (const Reference* side : {&comparison.prediction, &comparison.target}) {
    if (std::optional<LayerInput> value = value_of(spec, forward, side->name, findings)) {
      result.push_back(*value);
    }
  }
  if (result.size() < 2) result.clear();
  return result;
}

/// How to bring two sides of unlike type together, where that is clear.
std::string comparison_hint(const ModelSpec& spec, const std::vector<LayerInput>& sides) {
  const std::string& name = sides[1].name;
  const bool declared =
      std::ranges::find(spec.inputs, name, &ModelInput::name) != spec.inputs.end();
  const TensorType prediction = example_type(sides[0].value.type());
  const TensorType target = example_type(sides[1].value.type());
  if (target.element == ElementType::i32 && prediction.rank() > target.rank() + 1) {
    return "add { \"layer\": \"flatten\" } before the dense layers: they work on the last axis";
  }
  if (target.element == ElementType::i64 || target.element == ElementType::u8) {
    return fmt::format("declare \"{}\" as i32", name);
  }
  if (prediction.element_count() != target.element_count()) return "";
  if (declared) return fmt::format("declare \"{}\" as \"{}\"", name, to_string(prediction));
  return fmt::format("reshape '{}' to {}", name, to_string(prediction.shape));
}

/// Builds a loss or metric and names both sides when they do not fit.
template <typename Record>
std::optional<Expr> compare(const ModelSpec& spec, Forward& forward, const Record& record,
                            const Comparison& comparison, Findings& findings) {
  const std::vector<LayerInput> both = sides(spec, forward, comparison, findings);
  if (both.empty()) return std::nullopt;
  try {
    return record.build(both[0].value, comparison.kind(), both[1].value);
  } catch (const ir::TypeError& error) {
    findings.add("E0204",
                 name_batch(fmt::format("{} does not fit: {}{}", record.name, error.what(),
                                        sources_of(both))),
                 comparison.where, comparison_hint(spec, both));
    return std::nullopt;
  }
}

}  // namespace

void build_forward(const ModelSpec& spec, Forward& forward, Findings& findings) {
  for (const LayerSpec& layer : spec.layers) {
    std::vector<LayerInput> inputs;
    for (const Reference& reference : layer.from) {
      if (std::optional<LayerInput> input = value_of(spec, forward, reference.name, findings)) {
        inputs.push_back(*input);
      }
    }
    const std::size_t before = forward.parameters.size();
    Expr result;
    if (inputs.size() == layer.from.size()) {
      forward.graph.set_provenance(
          provenance_of(layer.where, layer.name, ir::Role::forward, layer.uses));
      result = build_layer(layer, forward, inputs, findings);
    }
    if (!result.graph) {
      forward.failed.insert(layer.name);
      continue;
    }
    std::int64_t count = 0;
    for (std::size_t i = before; i < forward.parameters.size(); ++i) {
      count += forward.parameters[i].type.element_count();
    }
    forward.layers.push_back(
        {layer.name, layer.kind, example_type(result.type()), count, layer.where});
    forward.values[layer.name] = {layer.name, layer.where.line, result};
  }
}

std::optional<Expr> build_loss(const ModelSpec& spec, Forward& forward, Findings& findings) {
  forward.graph.set_provenance(
      provenance_of(spec.loss.comparison.where, "loss", ir::Role::forward));
  std::optional<Expr> total =
      compare(spec, forward, *spec.loss.record, spec.loss.comparison, findings);
  if (!total) return std::nullopt;
  for (const ParameterSpec& parameter : forward.parameters) {
    const Expr w{&forward.graph, *forward.graph.find_input(parameter.name)};
    if (parameter.l1 > 0) total = *total + ir::sum_all(ir::map("abs", w)) * parameter.l1;
    if (parameter.l2 > 0) total = *total + ir::sum_all(w * w) * parameter.l2;
  }
  forward.graph.add_result("loss", total->value);
  return total;
}

void build_metrics(const ModelSpec& spec, Forward& forward, Findings& findings) {
  for (const MetricSpec& metric : spec.metrics) {
    forward.graph.set_provenance(
        provenance_of(metric.comparison.where, metric.name, ir::Role::metric));
    if (const std::optional<Expr> value =
            compare(spec, forward, *metric.record, metric.comparison, findings)) {
      forward.graph.add_result(metric.name, value->value);
    }
  }
}

void build_outputs(const ModelSpec& spec, Forward& forward, Findings& findings) {
  for (const Reference& output : spec.outputs) {
    if (const std::optional<LayerInput> value = value_of(spec, forward, output.name, findings)) {
      forward.graph.add_result(output.name, value->value.value);
    }
  }
}

}  // namespace gradus::frontend
