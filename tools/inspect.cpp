#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <dtl/dtl.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "codegen/jit.h"
#include "codegen/text_kernel.h"
#include "ir/dot_file.h"
#include "ir/rewrite.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "tools/code_listing.h"
#include "tools/commands.h"
#include "tools/kernel_report.h"
#include "tools/memory_report.h"
#include "tools/renumber.h"

namespace gradus::tools {
namespace {

struct InspectOptions {
  ModelOptions model;
  std::string stage = "model";
  std::string program = "train_step";
  std::vector<std::string> compared;  // two stages
  std::string kernel;                 // empty: all
  bool dot = false;
};

using Json = nlohmann::ordered_json;

std::string model_table(const frontend::Model& model) {
  constexpr const char* kRow = "{:<20} {:<14} {:<20} {:>12}\n";
  std::string text = fmt::format(kRow, "layer", "kind", "result", "parameters");
  std::int64_t total = 0;
  for (const frontend::LayerSummary& layer : model.layers()) {
    text += fmt::format(kRow, layer.path, layer.kind, to_string(layer.result), layer.parameters);
    total += layer.parameters;
  }
  return text + fmt::format(kRow, "total", "", "", total);
}

Json model_json(const frontend::Model& model) {
  Json layers = Json::array();
  std::int64_t total = 0;
  for (const frontend::LayerSummary& layer : model.layers()) {
    layers.push_back({{"name", layer.path},
                      {"kind", layer.kind},
                      {"result", to_string(layer.result)},
                      {"parameters", layer.parameters}});
    total += layer.parameters;
  }
  return {{"stage", "model"}, {"layers", layers}, {"parameters", total}};
}

std::string memory_table(const codegen::MemoryUse& use, std::int64_t workers) {
  constexpr const char* kRow = "{:<12} {:>14} bytes{}\n";
  std::string text =
      fmt::format(kRow, "weights", use.weights, "") + fmt::format(kRow, "slots", use.slots, "");
  const double ratio =
      use.alive == 0 ? 1 : static_cast<double>(use.activations) / static_cast<double>(use.alive);
  text += fmt::format(kRow, "activations", use.activations,
                      fmt::format(", {:.3f} of the {} alive at once", ratio, use.alive));
  text += fmt::format(kRow, "scratch", use.scratch, fmt::format(", {} workers", workers));
  text += fmt::format(kRow, "data", use.data, "");
  return text + fmt::format(kRow, "total", use.total(), "");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// A colour for each fusion group: hues a golden angle apart.
std::string group_colour(std::size_t group) {
  constexpr double kGoldenRatio = 0.618033988749895;
  const double hue = kGoldenRatio * static_cast<double>(group);
  return fmt::format("{:.3f} 0.3 1.0", hue - static_cast<double>(static_cast<int>(hue)));
}

std::string fusion_dot(const codegen::Plan& plan) {
  using GraphGroups = std::map<ir::NodeId, std::size_t>;
  const auto groups_of = [](const passes::FusionPlan& fusion) {
    GraphGroups groups;
    for (std::size_t i = 0; i < fusion.groups.size(); ++i) {
      for (ir::NodeId id : fusion.groups[i].roots) groups[id] = i;
    }
    return groups;
  };
  std::map<const ir::Graph*, GraphGroups> all{{&plan.graph, groups_of(plan.fusion)}};
  for (const codegen::LoopBody& body : plan.bodies) {
    all[plan.graph.node(body.scan).attributes.get<ir::GraphPointer>("body").get()] =
        groups_of(body.fusion);
  }
  return to_dot(plan.graph, [&](const ir::Graph& graph, ir::NodeId id) {
    const GraphGroups& groups = all.at(&graph);
    const auto group = groups.find(id);
    return group == groups.end() ? std::string() : group_colour(group->second);
  });
}

/// The plan of a graph, with those of loops' bodies where the loops are.
std::string fusion_text(const codegen::Plan& plan) {
  return to_string(plan.fusion, plan.graph, [&](ir::NodeId scan) {
    std::string text;
    for (const codegen::LoopBody& body : plan.bodies) {
      if (body.scan != scan) continue;
      text += fmt::format("  {}, {} times\n", body.graph.name(),
                          plan.graph.node(scan).attributes.get<std::int64_t>("length"));
      for (const std::string& line : lines_of(to_string(body.fusion, body.graph))) {
        text += "    " + line + '\n';
      }
    }
    return text;
  });
}

std::string unknown_stage(const std::string& stage) {
  std::string known = "model, graph";
  for (const passes::Pass& pass : passes::pipeline()) known += fmt::format(", {}", pass.name);
  return fmt::format(
      "there is no stage '{}'; expected {}, step, fusion, kernels, llvm, asm, code or "
      "memory",
      stage, known);
}

/// The stages of one program of a model.
class Stages {
 public:
  Stages(const InspectOptions& options, const frontend::Model& model)
      : options_(options), model_(model) {}

  std::string text(const std::string& stage) const {
    if (stage == "model") {
      if (options_.dot) throw UserError("E2003", "the model table has no graph; add --stage graph");
      return model_table(model_);
    }
    if (const std::optional<ir::Graph> graph = graph_at(stage)) {
      return options_.dot ? to_dot(*graph) : to_text(*graph);
    }
    codegen::Plan plan = this->plan();
    if (stage == "fusion") {
      return options_.dot ? fusion_dot(plan) : fusion_text(plan);
    }
    if (options_.dot) throw UserError("E2003", fmt::format("stage {} is not a graph", stage));
    if (stage == "memory") {
      const runtime::StateLayout layout = build_program(model_, program(), batch()).layout;
      const runtime::Executable executable = codegen::compile(plan, layout, compile_options());
      return memory_table(memory_use(plan, executable, layout, options_.model.workers()),
                          options_.model.workers());
    }
    check_chosen(plan);
    return kernel_text(stage, plan);
  }

  /// What the kernels do and need, one by one.
  Json kernels_json() const {
    const codegen::Plan plan = this->plan();
    check_chosen(plan);
    const codegen::Target target = codegen::make_target(compile_options().set);
    const MachinePeak core = nominal_core(target);
    Json kernels = Json::array();
    std::string text;
    for (const KernelReport& report : report_kernels(plan, target, core, options_.kernel)) {
      kernels.push_back(to_json(report, target));
      text += to_comments(report, target) + to_string(*report.kernel) + '\n';
    }
    return {{"stage", "kernels"},
            {"program", options_.program},
            {"text", text},
            {"predicted_for", {{"flops", core.flops}, {"bytes", core.bytes}}},
            {"kernels", kernels}};
  }

  /// The graph of a stage that is one, without dead nodes.
  std::optional<ir::Graph> graph_at(const std::string& stage) const {
    if (stage == "graph") return ir::copy(graph());
    if (stage == "step") return passes::run_pipeline(graph());
    std::optional<ir::Graph> found;
    if (passes::find_pass(stage) == nullptr) return found;
    passes::PipelineOptions watch;
    watch.after = [&](const passes::PassReport& report, const ir::Graph& after) {
      if (report.name == stage) found = ir::copy(after);
    };
    (void)passes::run_pipeline(graph(), watch);
    return found;
  }

 private:
  std::int64_t batch() const {
    constexpr std::int64_t kShownBatch = 1000;  // where the data decide
    using enum runtime::Program;
    if (program() == decode || program() == encode) return 1;
    if (model_.training().batch == 0) return kShownBatch;
    return program() == train_step ? model_.step_batch() : model_.training().batch;
  }
  runtime::Program program() const { return *runtime::parse_program(options_.program); }
  ir::Graph graph() const { return graph_of(model_, program(), batch()); }
  codegen::Plan plan() const {
    return fitted_plan(build_program(model_, program(), batch()), model_, program(), batch(),
                       compile_options(), options_.model.memory_limit())
        .plan;
  }
  codegen::CompileOptions compile_options() const { return options_.model.compile_options(); }

  [[nodiscard]] bool is_chosen(const codegen::Kernel& kernel) const {
    return options_.kernel.empty() || kernel.name == options_.kernel;
  }

  void check_chosen(const codegen::Plan& plan) const {
    std::string names;
    for (const codegen::ScheduledKernel& scheduled : plan.kernels) {
      if (is_chosen(scheduled.kernel)) return;
      names += (names.empty() ? "" : ", ") + scheduled.kernel.name;
    }
    throw UserError("E2002", fmt::format("{} has no kernel '{}'; expected {}", options_.program,
                                         options_.kernel, names));
  }

  /// LLVM IR and assembly of each kernel.
  static std::string code_text(std::span<const codegen::Kernel> kernels,
                               const codegen::Target& target) {
    const codegen::DebugOptions lines = debug_lines();
    std::string text;
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      const std::span<const codegen::Kernel> kernel = kernels.subspan(i, 1);
      text += fmt::format("{} from {}\n", kernel[0].name, kernel[0].provenance);
      text += side_by_side(generate_code(kernel, target, codegen::CodeForm::llvm_ir, lines).code,
                           generate_code(kernel, target, codegen::CodeForm::assembly, lines).code);
      text += '\n';
    }
    return text;
  }

  std::string kernel_text(const std::string& stage, const codegen::Plan& plan) const {
    std::vector<codegen::Kernel> kernels;
    for (const codegen::ScheduledKernel& scheduled : plan.kernels) {
      if (is_chosen(scheduled.kernel)) kernels.push_back(scheduled.kernel);
    }
    const codegen::Target target = codegen::make_target(compile_options().set);
    if (stage == "code") return code_text(kernels, target);
    if (stage == "llvm") return generate_code(kernels, target, codegen::CodeForm::llvm_ir).code;
    if (stage == "asm") return generate_code(kernels, target, codegen::CodeForm::assembly).code;
    if (stage != "kernels") throw UserError("E2002", unknown_stage(stage));
    std::string text;
    for (const KernelReport& report :
         report_kernels(plan, target, nominal_core(target), options_.kernel)) {
      text += to_comments(report, target) + to_string(*report.kernel) + '\n';
    }
    return text;
  }

  const InspectOptions& options_;
  const frontend::Model& model_;
};

/// A unified diff of two stages; empty when they are equal. Nodes that graphs share have the same
/// numbers in both.
std::string difference(const std::string& a, const std::string& b, const Stages& stages) {
  const std::optional<ir::Graph> before = stages.graph_at(a);
  const std::optional<ir::Graph> after = stages.graph_at(b);
  dtl::Diff<std::string, std::vector<std::string>> diff(
      lines_of(stages.text(a)),
      lines_of(before && after ? renumbered(*before, *after) : stages.text(b)));
  diff.onHuge();  // the whole difference, however long
  diff.compose();
  diff.composeUnifiedHunks();
  std::ostringstream text;
  diff.printUnifiedFormat(text);
  return text.str().empty() ? "" : fmt::format("--- {}\n+++ {}\n{}", a, b, text.str());
}

/// A diff in the colours of a terminal.
std::string coloured(const std::string& diff) {
  std::string text;
  for (const std::string& line : lines_of(diff)) {
    const char* colour = line.starts_with("---") || line.starts_with("+++") ? "\033[1m"
                         : line.starts_with('-')                            ? "\033[31m"
                         : line.starts_with('+')                            ? "\033[32m"
                         : line.starts_with("@@")                           ? "\033[36m"
                                                                            : "";
    text += colour + line + (*colour != '\0' ? "\033[0m\n" : "\n");
  }
  return text;
}

int inspect(const InspectOptions& options) {
  const frontend::Model model = options.model.model();
  Stages stages(options, model);
  const bool compares = !options.compared.empty();
  if (options.model.json && options.stage == "model" && !compares) {
    print_json(model_json(model));
    return 0;
  }
  if (options.model.json && options.stage == "kernels" && !compares) {
    print_json(stages.kernels_json());
    return 0;
  }
  const std::string text = compares ? difference(options.compared[0], options.compared[1], stages)
                                    : stages.text(options.stage);
  if (options.model.json) {
    const std::string stage =
        compares ? options.compared[0] + " to " + options.compared[1] : options.stage;
    print_json({{"stage", stage}, {"program", options.program}, {"text", text}});
  } else {
    const bool colours =
        compares && isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
    std::cout << (colours ? coloured(text) : text);
  }
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("inspect", "Show a model and every stage of its program");
  command->footer(
      "Example: gradus inspect models/digits_mlp.json --stage kernels\n"
      "         gradus inspect models/digits_mlp.json --stage code --kernel train_step_0_max\n"
      "         gradus inspect models/digits_mlp.json --diff graph step\n"
      "         gradus inspect models/digits_mlp.json --stage fusion --dot | dot -Tsvg -o "
      "step.svg");
  auto options = std::make_shared<InspectOptions>();
  options->model.add_to(*command);
  options->model.add_tune_to(*command);
  command->add_option("--stage", options->stage,
                      "model, graph, a pass, step, fusion, kernels, llvm, asm, code (both side by "
                      "side) or memory");
  command->add_option("--kernel", options->kernel,
                      "Of the stages kernels, llvm, asm and code: only this kernel");
  command
      ->add_option(
          "--program", options->program,
          "init, train_step, evaluate or predict; of generation, for one sequence: decode, "
          "and encode where there is an encoder")
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(runtime::kProgramNames),
                                                     std::end(runtime::kProgramNames))));
  command->add_option("--diff", options->compared, "What changed from one stage to another")
      ->expected(2);
  command->add_flag("--dot", options->dot, "A graph in Graphviz's language");
  command->callback([options, &status] { status = inspect(*options); });
}

}  // namespace gradus::tools
