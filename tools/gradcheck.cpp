// The slope of a loss along a random direction of each parameter, as the gradient tells it and as a
// central difference, in f64 by compiled code, which has the interpreter's bits. Where the two
// points of a difference lie on different sides of a kink, of relu or a maximum, it is no slope:
// the steps become smaller until one crosses none, or the last has been tried. A wrong gradient is
// wrong at every step. The parameters are moved a little from where training starts, since biases
// of 0 stand exactly on kinks.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/philox.h"
#include "codegen/compile.h"
#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/differentiate.h"
#include "runtime/executor.h"
#include "tools/commands.h"

namespace gradus::tools {
namespace {

struct GradcheckOptions {
  ModelOptions model;
  std::int64_t batch = 4;
  int samples = 2;  // directions of each parameter
  double tolerance = 1e-5;
  bool random_inputs = false;
};

constexpr double kSteps[] = {1e-3, 1e-4, 1e-5, 1e-6, 1e-7};  // along a direction of length 1
/// Slopes less than this are compared with it: the rounding of a loss, over a step.
constexpr double kLeastSlope = 1e-5;
/// How far parameters are moved.
constexpr double kMove = 0.01;

/// Uniform in [0, 1), one number after another.
class Uniform {
 public:
  explicit Uniform(std::uint32_t stream) : stream_(stream) {}
  double next() { return philox4x32({number_++, stream_, 0, 0}, {1, 1})[0] / 0x1p32; }

 private:
  std::uint32_t stream_;
  std::uint32_t number_ = 0;
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

/// Floats in [0, 1); whole numbers 0 or 1, which every vocabulary has and every count of classes.
Tensor random_input(const TensorType& type, Uniform& uniform) {
  Tensor value(type);
  dispatch(type.element, [&](auto zero) {
    using T = decltype(zero);
    for (T& x : value.as<T>()) {
      x = is_float(type.element) ? static_cast<T>(uniform.next())
                                 : static_cast<T>(uniform.next() < 0.5);
    }
  });
  return value;
}

/// The first examples of the data.
Tensor first_examples(const TensorType& type, const Tensor& array) {
  Tensor value(type);
  const bool image = array.type.element == ElementType::u8;
  for (std::int64_t i = 0; i < value.type.element_count(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    dispatch(array.type.element, [&](auto from) {
      const double x = static_cast<double>(array.as<decltype(from)>()[at]) / (image ? 255 : 1);
      dispatch(value.type.element,
               [&](auto to) { value.as<decltype(to)>()[at] = static_cast<decltype(to)>(x); });
    });
  }
  return value;
}

/// Without data, random numbers.
Inputs inputs_of(const ir::Graph& graph, const runtime::Dataset* data,
                 const std::map<std::string, Tensor>& state) {
  Inputs inputs;
  Uniform uniform(0);
  for (ir::NodeId id : graph.inputs()) {
    const ir::Node& node = graph.node(id);
    const std::string& name = node.attributes.get<std::string>("name");
    if (node.attributes.get<std::string>("kind") == "state") {
      inputs[name] = widened(state.at(name));
    } else if (data == nullptr) {
      inputs[name] = random_input(node.types[0], uniform);
    } else {
      inputs[name] = first_examples(node.types[0], data->find(name)->tensor);
    }
  }
  return inputs;
}

/// A graph as a program of this machine.
class Compiled {
 public:
  Compiled(const ir::Graph& graph, const ModelOptions& options) : executor_(options.workers()) {
    for (ir::NodeId id : graph.inputs()) {
      const ir::Node& node = graph.node(id);
      if (node.attributes.get<std::string>("kind") == "state") {
        layout_.add(node.attributes.get<std::string>("name"), node.types[0],
                    runtime::StateKind::parameter);
      }
    }
    const codegen::CompileOptions compile = options.compile_options();
    codegen::Plan plan = codegen::plan_program(graph, compile);
    executable_ = codegen::compile(plan, layout_, compile);
    state_ = runtime::allocate(std::max<std::int64_t>(layout_.bytes, 64), "state");
  }

  std::map<std::string, Tensor> run(const Inputs& values) {
    for (const runtime::StateEntry& entry : layout_.entries) {
      const Tensor& value = values.at(entry.name);
      std::ranges::copy(value.bytes, state_.begin() + entry.offset);
    }
    std::vector<std::span<const std::byte>> inputs;
    for (const runtime::ExecutableInput& input : executable_.inputs) {
      inputs.emplace_back(values.at(input.name).bytes);
    }
    (void)executor_.run(executable_, state_, inputs);
    std::map<std::string, Tensor> outputs;
    for (std::size_t i = 0; i < executable_.outputs.size(); ++i) {
      outputs[executable_.outputs[i].name] = executor_.output(executable_, i);
    }
    return outputs;
  }

 private:
  runtime::StateLayout layout_;
  runtime::Executable executable_;
  runtime::AlignedBytes state_;
  runtime::Executor executor_;
};

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

/// Random numbers of length 1 together.
std::vector<double> direction(std::size_t size, std::uint32_t stream) {
  Uniform uniform(stream);
  std::vector<double> result(size);
  double squares = 0;
  for (double& x : result) {
    x = 2 * uniform.next() - 1;
    squares += x * x;
  }
  for (double& x : result) x /= std::sqrt(squares);
  return result;
}

/// The relative error of a gradient along a direction, at the step where it is least.
double error_along(Compiled& losses, const std::string& loss, const Tensor& gradient,
                   const std::string& parameter, Inputs& inputs, std::uint32_t stream,
                   double tolerance) {
  const std::span<double> weights = inputs.at(parameter).as<double>();
  const std::vector<double> start(weights.begin(), weights.end());
  const std::vector<double> along = direction(weights.size(), stream);
  const double found =
      std::inner_product(along.begin(), along.end(), gradient.as<double>().begin(), 0.0);
  const auto loss_at = [&](double step) {
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = start[i] + step * along[i];
    return losses.run(inputs).at(loss).as<double>()[0];
  };
  double least = std::numeric_limits<double>::infinity();
  for (double step : kSteps) {
    const double slope = (loss_at(step) - loss_at(-step)) / (2 * step);
    const double scale = std::max({kLeastSlope, std::abs(found), std::abs(slope)});
    least = std::min(least, std::abs(found - slope) / scale);
    if (least <= tolerance) break;
  }
  std::ranges::copy(start, weights.begin());
  return least;
}

/// Parameters beside those with which training starts.
void move_parameters(Inputs& inputs, const frontend::Model& model) {
  std::uint32_t stream = 1;
  for (const frontend::ParameterSpec& parameter : model.parameters()) {
    const auto found = inputs.find(parameter.name);
    if (!parameter.trained || found == inputs.end()) continue;
    Uniform uniform(stream++);
    for (double& x : found->second.as<double>()) x += kMove * (2 * uniform.next() - 1);
  }
}

int gradcheck(const GradcheckOptions& options) {
  const frontend::Model model = options.model.model();
  const runtime::DataSplits data =
      options.random_inputs ? runtime::DataSplits{} : load_data_of(model);
  const std::int64_t batch =
      options.random_inputs ? options.batch : std::min(options.batch, data.train.examples());
  const ir::Interpretation init = ir::interpret(
      model.init(), {{"initial_seed", Tensor::scalar(ElementType::i64, std::int64_t{1})}});
  const ir::Graph losses = in_double(model.losses(batch));
  const std::vector<Check> checks = checks_of(model);
  ir::Graph graph = ir::copy(losses);
  add_gradients(graph, checks);
  Inputs inputs = inputs_of(graph, options.random_inputs ? nullptr : &data.train, init.updates);
  move_parameters(inputs, model);
  const std::map<std::string, Tensor> exact = Compiled(graph, options.model).run(inputs);
  Compiled compiled(losses, options.model);
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  bool good = true;
  std::uint32_t stream = 0;
  for (const Check& check : checks) {
    for (const frontend::ParameterSpec* spec : check.parameters) {
      double worst = 0;
      for (int sample = 0; sample < options.samples; ++sample) {
        worst =
            std::max(worst, error_along(compiled, check.loss.name, exact.at(check.gradient(*spec)),
                                        spec->name, inputs, stream++, options.tolerance));
      }
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
      app.add_subcommand("gradcheck",
                         "Gradients of a model against central differences in f64, along "
                         "random directions of each parameter");
  command->footer("Example: gradus gradcheck models/spirals_mlp.json");
  auto options = std::make_shared<GradcheckOptions>();
  options->model.add_file_to(*command);
  command->add_option("--batch", options->batch, "Examples")->check(CLI::Range(1, 1024));
  command->add_option("--samples", options->samples, "Random directions of each parameter");
  command->add_flag("--random-inputs", options->random_inputs,
                    "Random numbers instead of the data: floats in [0, 1), whole numbers 0 or 1");
  command->add_option("--tolerance", options->tolerance, "Greatest relative error");
  command->callback([options, &status] { status = gradcheck(*options); });
}

}  // namespace gradus::tools
