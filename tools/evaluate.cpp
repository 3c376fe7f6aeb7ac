#include "runtime/evaluate.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error_codes.h"
#include "runtime/checkpoint.h"
#include "runtime/executor.h"
#include "runtime/safetensors.h"
#include "tools/commands.h"
#include "tools/initial_weights.h"

namespace gradus::tools {
namespace {

struct EvaluateOptions {
  ModelOptions model;
  std::string weights = "run/weights.safetensors";
  std::string output = "predictions.safetensors";

  void add_to(CLI::App& command) {
    model.add_to(command);
    command.add_option("--weights", weights, "Weights (safetensors)");
  }
};

/// A model with its weights, ready to run on the test data (or on all, where there are none).
struct Loaded {
  frontend::Model model;
  ProgramCache cache;
  runtime::Programs programs;
  runtime::Executor executor;
  runtime::Dataset data;
  runtime::AlignedBytes state;

  explicit Loaded(const EvaluateOptions& options)
      : model(options.model.model()),
        cache(model, options.model.compile_options(), options.model.memory_limit()),
        programs(cache.programs()),
        executor(options.model.workers()) {
    runtime::DataSplits splits = load_data_of(model);
    check_vocabulary(options.weights, splits.vocabulary);
    data = splits.test.examples() > 0 ? std::move(splits.test) : std::move(splits.train);
    state = runtime::initial_state(programs, executor, model.training().seed);
    runtime::load_weights(options.weights, programs.layout, state);
  }
};

int evaluate(const EvaluateOptions& options) {
  Loaded loaded(options);
  const auto values =
      runtime::evaluate(loaded.programs, loaded.executor, loaded.state, loaded.data,
                        loaded.model.training().batch, losses_and_metrics_of(loaded.model));
  nlohmann::ordered_json json{{"event", "end"}, {"examples", loaded.data.examples()}};
  for (const runtime::MetricValue& value : *values) {
    json[value.name] = value.value;
    if (!options.model.json) std::cout << fmt::format("{} {:.6f}\n", value.name, value.value);
  }
  if (options.model.json) print_json(json);
  return 0;
}

int predict(const EvaluateOptions& options) {
  Loaded loaded(options);
  const std::vector<runtime::DataArray> outputs = runtime::predict(
      loaded.programs, loaded.executor, loaded.state, loaded.data, loaded.model.training().batch);
  std::vector<runtime::SafetensorsItem> items;
  for (const runtime::DataArray& output : outputs) {
    items.push_back({output.name, output.tensor.type, output.tensor.bytes});
  }
  runtime::write_safetensors(options.output, items, {});
  if (options.model.json) {
    print_json({{"event", "end"}, {"output", options.output}});
  } else {
    std::cout << options.output << '\n';
  }
  return 0;
}

int explain(const std::string& code, bool json) {
  bool found = false;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ErrorCode& entry : error_codes()) {
    if (!code.empty() && entry.code != code) continue;
    found = true;
    list.push_back({{"code", entry.code},
                    {"title", entry.title},
                    {"exit_code", static_cast<int>(entry.error_class)},
                    {"explanation", entry.explanation}});
    if (json) continue;
    std::cout << fmt::format("{}: {} (exit code {})\n", entry.code, entry.title,
                             static_cast<int>(entry.error_class));
    if (!code.empty()) std::cout << entry.explanation << '\n';
  }
  if (!found) throw UserError("E2002", "there is no error code " + code);
  if (json) print_json({{"errors", list}});
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("evaluate", "Loss and metrics on the test data");
  command->footer(
      "Example: gradus evaluate models/digits_mlp.json --weights run/weights.safetensors");
  auto options = std::make_shared<EvaluateOptions>();
  options->add_to(*command);
  command->callback([options, &status] { status = evaluate(*options); });
}

void add_predict(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("predict", "The model's outputs for the test data");
  command->footer("Example: gradus predict models/digits_mlp.json -o predictions.safetensors");
  auto options = std::make_shared<EvaluateOptions>();
  options->add_to(*command);
  command->add_option("-o,--output", options->output, "File for the outputs (safetensors)");
  command->callback([options, &status] { status = predict(*options); });
}

void add_explain(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("explain", "What an error code means");
  command->footer("Example: gradus explain E0204");
  auto code = std::make_shared<std::string>();
  command->add_option("code", *code, "Error code; without it all are listed");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Machine-readable output on stdout");
  command->callback([code, json, &status] { status = explain(*code, *json); });
}

}  // namespace gradus::tools
