#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/philox.h"
#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/differentiate.h"
#include "tools/commands.h"

namespace gradus::tools {
namespace {

struct GradcheckOptions {
  ModelOptions model;
  std::int64_t batch = 4;
  int samples = 8;  // elements of each parameter
  double tolerance = 1e-5;
};

Tensor widened(const Tensor& tensor) {
  if (tensor.type.element != ElementType::f32) return tensor;
  Tensor wide(TensorType{ElementType::f64, tensor.type.shape});
  for (std::size_t i = 0; i < tensor.as<float>().size(); ++i) {
    wide.as<double>()[i] = static_cast<double>(tensor.as<float>()[i]);
  }
  return wide;
}

/// The same computation with f64 wherever the graph has f32; a body of a loop keeps its updates.
ir::Graph in_double(const ir::Graph& graph, bool updates = false) {
  ir::Graph wide(graph.name());
  std::vector<ir::NodeId> moved(graph.size());
  const auto value_of = [&](ir::Value old) { return ir::Value{moved[old.node], old.result}; };
  for (ir::NodeId id = 0; id < graph.size(); ++id) {
    const ir::Node& node = graph.node(id);
    ir::Attributes attributes = node.attributes;
    for (const auto& [name, value] : node.attributes) {
      if (const auto* element = std::get_if<ElementType>(&value);
          element && *element == ElementType::f32) {
        attributes.set(name, ElementType::f64);
      } else if (const auto* tensor = std::get_if<ir::TensorPointer>(&value)) {
        attributes.set(name, ir::TensorPointer(std::make_shared<Tensor>(widened(**tensor))));
      } else if (const auto* body = std::get_if<ir::GraphPointer>(&value)) {
        attributes.set(name, std::make_shared<const ir::Graph>(in_double(**body, true)));
      }
    }
    std::vector<ir::Value> operands;
    for (ir::Value operand : graph.operands(id)) operands.push_back(value_of(operand));
    moved[id] = wide.add(*node.op, operands, attributes);
  }
  for (const ir::Result& result : graph.results()) {
    const ir::Value value = value_of(result.value);
    if (!result.update) wide.add_result(result.name, value);
    if (result.update && updates) wide.add_update(result.name, value);
  }
  return wide;
}

using Inputs = std::map<std::string, Tensor>;

Inputs inputs_of(const ir::Graph& graph, const runtime::Dataset& data,
                 const std::map<std::string, Tensor>& state) {
  Inputs inputs;
  for (ir::NodeId id : graph.inputs()) {
    const ir::Node& node = graph.node(id);
    const std::string& name = node.attributes.get<std::string>("name");
    if (node.attributes.get<std::string>("kind") == "state") {
      inputs[name] = widened(state.at(name));
      continue;
    }
    Tensor value(node.types[0]);
    const Tensor& array = data.find(name)->tensor;
    const bool image = array.type.element == ElementType::u8;
    for (std::int64_t i = 0; i < value.type.element_count(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      dispatch(array.type.element, [&](auto from) {
        const double x = static_cast<double>(array.as<decltype(from)>()[at]) / (image ? 255 : 1);
        dispatch(value.type.element,
                 [&](auto to) { value.as<decltype(to)>()[at] = static_cast<decltype(to)>(x); });
      });
    }
    inputs[name] = value;
  }
  return inputs;
}

/// One loss and the parameters that training changes by it.
struct Check {
  const frontend::LossSpec& loss;
  std::vector<const frontend::ParameterSpec*> parameters;

  [[nodiscard]] std::string gradient(const frontend::ParameterSpec& parameter) const {
    return "d " + loss.name + " / d " + parameter.name;
  }
};

std::vector<Check> checks_of(const frontend::Model& model) {
  std::vector<Check> checks;
  for (const frontend::LossSpec& loss : model.spec().losses) {
    Check& check = checks.emplace_back(Check{loss, {}});
    for (const frontend::ParameterSpec& parameter : model.parameters()) {
      const bool trained =
          std::ranges::any_of(model.spec().updates, [&](const frontend::UpdateSpec& update) {
            return &model.spec().losses[update.loss] == &loss && update.names(parameter.name);
          });
      if (trained && parameter.trained) check.parameters.push_back(&parameter);
    }
  }
  return checks;
}

void add_gradients(ir::Graph& graph, const std::vector<Check>& checks) {
  for (const Check& check : checks) {
    const auto loss = std::ranges::find(graph.results(), check.loss.name, &ir::Result::name);
    const ir::Expr value{&graph, loss->value};
    std::vector<ir::Expr> parameters;
    for (const frontend::ParameterSpec* spec : check.parameters) {
      parameters.push_back({&graph, *graph.find_input(spec->name)});
    }
    const std::vector<ir::Expr> gradients = passes::gradients(value, parameters);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      graph.add_result(check.gradient(*check.parameters[i]), gradients[i].value);
    }
  }
}

double loss_at(const ir::Graph& graph, const std::string& loss, const Inputs& inputs) {
  return ir::interpret(graph, inputs).outputs.at(loss).as<double>()[0];
}

/// The greatest relative error of a gradient at some elements.
double worst_error(const ir::Graph& graph, const std::string& loss, const Tensor& gradient,
                   const std::string& parameter, Inputs& inputs, int samples) {
  double worst = 0;
  for (int sample = 0; sample < samples; ++sample) {
    const auto count = static_cast<std::uint32_t>(gradient.type.element_count());
    const std::size_t at =
        philox4x32({static_cast<std::uint32_t>(sample), 0, 0, 0}, {1, 1})[0] % count;
    double& weight = inputs[parameter].as<double>()[at];
    const double saved = weight;
    const double h = 1e-5 * std::max(1.0, std::abs(saved));
    weight = saved + h;
    const double up = loss_at(graph, loss, inputs);
    weight = saved - h;
    const double down = loss_at(graph, loss, inputs);
    weight = saved;
    const double difference = (up - down) / (2 * h);
    const double found = gradient.as<double>()[at];
    worst = std::max(worst, std::abs(found - difference) /
                                std::max(1e-3, std::max(std::abs(found), std::abs(difference))));
  }
  return worst;
}

int gradcheck(const GradcheckOptions& options) {
  const frontend::Model model = options.model.model();
  const runtime::DataSplits data = load_data_of(model);
  const ir::Interpretation init = ir::interpret(
      model.init(), {{"initial_seed", Tensor::scalar(ElementType::i64, std::int64_t{1})}});
  const ir::Graph losses = in_double(model.losses(std::min(options.batch, data.train.examples())));
  const std::vector<Check> checks = checks_of(model);
  ir::Graph graph = ir::copy(losses);
  add_gradients(graph, checks);
  Inputs inputs = inputs_of(graph, data.train, init.updates);
  const ir::Interpretation exact = ir::interpret(graph, inputs);
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  bool good = true;
  for (const Check& check : checks) {
    for (const frontend::ParameterSpec* spec : check.parameters) {
      const double worst =
          worst_error(losses, check.loss.name, exact.outputs.at(check.gradient(*spec)), spec->name,
                      inputs, options.samples);
      good &= worst <= options.tolerance;
      json.push_back(
          {{"loss", check.loss.name}, {"parameter", spec->name}, {"relative_error", worst}});
      if (options.model.json) continue;
      std::cout << fmt::format("{:<24} {:<16} relative error of d {} {:.2e}  {}\n", spec->name,
                               to_string(spec->type), check.loss.name, worst,
                               worst <= options.tolerance ? "ok" : "WRONG");
    }
  }
  if (options.model.json) {
    print_json({{"tolerance", options.tolerance}, {"parameters", json}});
  }
  return good ? 0 : static_cast<int>(ErrorClass::numeric);
}

}  // namespace

void add_gradcheck(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("gradcheck", "Gradients of a model against central differences in f64");
  command->footer("Example: gradus gradcheck models/spirals_mlp.json");
  auto options = std::make_shared<GradcheckOptions>();
  options->model.add_file_to(*command);
  command->add_option("--batch", options->batch, "Examples")->check(CLI::Range(1, 1024));
  command->add_option("--samples", options->samples, "Elements of each parameter");
  command->add_option("--tolerance", options->tolerance, "Greatest relative error");
  command->callback([options, &status] { status = gradcheck(*options); });
}

}  // namespace gradus::tools
