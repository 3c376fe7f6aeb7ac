#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "codegen/text_kernel.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "runtime/file.h"
#include "tools/commands.h"
#include "tools/compare_executors.h"

namespace gradus::tools {
namespace {

using Ordered = nlohmann::ordered_json;

struct OptOptions {
  std::string file;
  std::string output = "-";
  std::vector<std::string> passes;
  std::vector<std::string> disabled;
  bool pipeline = false;
  bool print_each = false;
  bool list = false;
  bool run = false;
  bool json = false;
  std::string isa = "native";
  std::uint32_t seed = 1;
};

/// What the command did; printed at its end.
struct OptResult {
  std::string text;
  Ordered passes = Ordered::array();
  std::vector<ComparedValue> values;
};

std::string text_of(const std::string& file) {
  if (file != "-") return read_text(file);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

const passes::Pass& pass_named(const std::string& name) {
  const passes::Pass* pass = passes::find_pass(name);
  if (pass == nullptr) {
    throw UserError("E2002",
                    fmt::format("there is no pass '{}'; gradus opt --list names them", name));
  }
  return *pass;
}

std::vector<passes::Pass> chosen_passes(const OptOptions& options) {
  for (const std::string& name : options.disabled) (void)pass_named(name);
  std::vector<passes::Pass> chosen;
  for (const std::string& name : options.passes) chosen.push_back(pass_named(name));
  if (options.pipeline) chosen.assign(passes::pipeline().begin(), passes::pipeline().end());
  return chosen;
}

OptResult opt_kernels(const std::string& text, const OptOptions& options) {
  if (!options.passes.empty() || !options.disabled.empty() || options.pipeline ||
      options.print_each) {
    throw UserError("E2003", "passes work on graphs; this is the text of kernels");
  }
  OptResult result;
  const std::vector<codegen::Kernel> kernels = codegen::read_kernels(text, options.file);
  for (const codegen::Kernel& kernel : kernels) result.text += to_string(kernel) + '\n';
  if (options.run) {
    result.values = compare_executors(kernels, options.seed, runnable_set(options.isa));
  }
  return result;
}

OptResult opt_graph(const std::string& text, const OptOptions& options) {
  const std::vector<passes::Pass> chosen = chosen_passes(options);
  const ir::Graph graph = ir::parse_graph(text, options.file);
  OptResult result;
  passes::PipelineOptions pipeline;
  pipeline.disabled.insert(options.disabled.begin(), options.disabled.end());
  pipeline.after = [&](const passes::PassReport& report, const ir::Graph& after) {
    result.passes.push_back(
        {{"name", report.name}, {"changed", report.changed}, {"seconds", report.seconds}});
    if (!options.print_each) return;
    std::cerr << fmt::format("# {} {}: {}, {:.2f} ms\n", report.number, report.name,
                             report.changed ? "changed" : "unchanged", 1e3 * report.seconds);
    if (report.changed) std::cerr << to_text(after);
  };
  const ir::Graph last = passes::run_passes(graph, chosen, pipeline);
  result.text = to_text(last);
  if (options.run) {
    codegen::CompileOptions compile_options;
    compile_options.set = runnable_set(options.isa);
    result.values = compare_executors(last, options.seed, compile_options);
  }
  return result;
}

void list_passes(bool json) {
  Ordered all = Ordered::array();
  for (const passes::Pass& pass : passes::pipeline()) {
    all.push_back({{"name", pass.name}, {"doc", pass.doc}});
    if (!json) std::cout << fmt::format("{:<28} {}\n", pass.name, pass.doc);
  }
  if (json) print_json({{"passes", all}});
}

void print(const OptResult& result, const OptOptions& options) {
  if (options.output != "-") {
    runtime::OutputFile file(options.output);
    file.write(result.text);
    file.commit();
  } else if (!options.json) {
    std::cout << result.text;
  }
  Ordered values = Ordered::array();
  for (const ComparedValue& value : result.values) {
    values.push_back({{"name", value.name},
                      {"type", to_string(value.type)},
                      {"equal", value.difference.empty()},
                      {"difference", value.difference}});
    if (options.json) continue;
    std::cerr << fmt::format(
        "{} {}: {}\n", value.name, to_string(value.type),
        value.difference.empty() ? "the same bits" : "DIFFERENT: " + value.difference);
  }
  if (!options.json) return;
  Ordered json{{"passes", result.passes}, {"values", values}};
  if (options.output == "-") json["text"] = result.text;
  print_json(json);
}

/// Whether the first word of a text, comments aside, is `kernel`.
bool begins_with_kernel(const std::string& text) {
  constexpr const char* kBlank = " \t\r\n";
  std::size_t begin = text.find_first_not_of(kBlank);
  while (begin != text.npos && text[begin] == '#') {
    begin = text.find_first_not_of(kBlank, std::min(text.find('\n', begin), text.size()));
  }
  return begin != text.npos && text.compare(begin, 7, "kernel ") == 0;
}

int opt(const OptOptions& options) {
  if (options.list) {
    list_passes(options.json);
    return 0;
  }
  if (options.file.empty()) throw UserError("E2004", "opt needs a file, or - for standard input");
  const std::string text = text_of(options.file);
  const bool kernels = options.file.ends_with(".kernel") || begins_with_kernel(text);
  const OptResult result = kernels ? opt_kernels(text, options) : opt_graph(text, options);
  print(result, options);
  const bool equal = std::ranges::all_of(
      result.values, [](const ComparedValue& value) { return value.difference.empty(); });
  return equal ? 0 : static_cast<int>(ErrorClass::operation);
}

}  // namespace

void add_opt(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand(
      "opt", "Read the text of a graph or of kernels, run passes, write it again");
  command->footer(
      "Example: gradus opt step.ir --pipeline --run\n"
      "         gradus inspect models/digits_mlp.json --stage kernels | gradus opt - --run");
  auto options = std::make_shared<OptOptions>();
  command->add_option("file", options->file, "Text of a graph (.ir) or of kernels (.kernel), or -");
  command->add_option("-o,--output", options->output, "File for the text (default: stdout)");
  CLI::Option* some = command->add_option("--passes", options->passes, "These, in this order");
  some->delimiter(',');
  command->add_flag("--pipeline", options->pipeline, "All passes")->excludes(some);
  command->add_option("--disable", options->disabled, "Leave these out")->delimiter(',');
  command->add_flag("--print-each", options->print_each, "The graph after each pass, on stderr");
  command->add_flag("--list", options->list, "Name the passes in their order");
  command->add_flag("--run", options->run,
                    "Compare the interpreter with machine code on random inputs");
  command->add_option("--seed", options->seed, "Of the random inputs")->envname("GRADUS_SEED");
  add_isa(*command, options->isa);
  command->add_flag("--json", options->json, kJsonHelp);
  command->callback([options, &status] { status = opt(*options); });
}

}  // namespace gradus::tools
