#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "codegen/jit.h"
#include "codegen/text_kernel.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "tools/commands.h"

namespace gradus::tools {
namespace {

struct InspectOptions {
  ModelOptions model;
  std::string stage = "model";
  std::string program = "train_step";
};

runtime::Program program_of(const std::string& name) {
  if (name == "init") return runtime::Program::init;
  if (name == "evaluate") return runtime::Program::evaluate;
  if (name == "predict") return runtime::Program::predict;
  return runtime::Program::train_step;
}

void print_model(const frontend::Model& model) {
  std::cout << fmt::format("{:<20} {:<14} {:<20} {:>12}\n", "layer", "kind", "result",
                           "parameters");
  std::int64_t total = 0;
  for (const frontend::LayerSummary& layer : model.layers()) {
    std::cout << fmt::format("{:<20} {:<14} {:<20} {:>12}\n", layer.path, layer.kind,
                             to_string(layer.result), layer.parameters);
    total += layer.parameters;
  }
  std::cout << fmt::format("{:<20} {:<14} {:<20} {:>12}\n", "total", "", "", total);
}

void print_memory(codegen::Plan& plan, const frontend::Model& model,
                  const codegen::CompileOptions& options) {
  const runtime::StateLayout layout = layout_of(model);
  const runtime::Executable executable = codegen::compile(plan, layout, options);
  std::cout << fmt::format("state         {:>12} bytes\n", layout.bytes);
  std::cout << fmt::format("arena         {:>12} bytes (lower bound {})\n",
                           plan.memory.peak_bytes, plan.memory.lower_bound_bytes);
  std::cout << fmt::format("constants     {:>12} bytes\n", executable.constants.size());
  std::cout << fmt::format("scratch       {:>12} bytes per worker\n", executable.scratch_bytes);
}

int inspect(const InspectOptions& options) {
  const frontend::Model model = options.model.model();
  if (options.stage == "model") {
    print_model(model);
    return 0;
  }
  const std::int64_t batch = model.training().batch > 0 ? model.training().batch : 1000;
  const ir::Graph graph = graph_of(model, program_of(options.program), batch);
  if (options.stage == "graph") {
    std::cout << to_text(graph);
    return 0;
  }
  if (passes::find_pass(options.stage) != nullptr) {
    passes::PipelineOptions watch;
    watch.after = [&](const passes::PassReport& report, const ir::Graph& after) {
      if (report.name == options.stage) std::cout << to_text(after);
    };
    (void)passes::run_pipeline(graph, watch);
    return 0;
  }
  const codegen::CompileOptions compile_options = options.model.compile_options();
  codegen::Plan plan = codegen::plan_program(graph, compile_options);
  std::vector<codegen::Kernel> kernels;
  for (const codegen::ScheduledKernel& kernel : plan.kernels) kernels.push_back(kernel.kernel);
  const codegen::Target target = codegen::make_target(compile_options.set);
  if (options.stage == "step") {
    std::cout << to_text(plan.graph);
  } else if (options.stage == "fusion") {
    std::cout << to_string(plan.fusion, plan.graph);
  } else if (options.stage == "kernels") {
    for (const codegen::Kernel& kernel : kernels) std::cout << to_string(kernel) << '\n';
  } else if (options.stage == "llvm") {
    std::cout << generate_code(kernels, target, codegen::CodeForm::llvm_ir);
  } else if (options.stage == "asm") {
    std::cout << generate_code(kernels, target, codegen::CodeForm::assembly);
  } else if (options.stage == "memory") {
    print_memory(plan, model, compile_options);
  } else {
    throw UserError("E2002", "there is no stage " + options.stage);
  }
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("inspect", "Show a model and every stage of its program");
  command->footer("Example: gradus inspect models/digits_mlp.json --stage kernels");
  auto options = std::make_shared<InspectOptions>();
  options->model.add_to(*command);
  command->add_option("--stage", options->stage,
                      "model, graph, step, a pass, fusion, kernels, llvm, asm or memory");
  command->add_option("--program", options->program, "init, train_step, evaluate or predict")
      ->check(CLI::IsMember({"init", "train_step", "evaluate", "predict"}));
  command->callback([options, &status] { status = inspect(*options); });
}

}  // namespace gradus::tools
