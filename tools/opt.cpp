#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/float_environment.h"
#include "codegen/compile.h"
#include "codegen/interpret_kernel.h"
#include "codegen/jit.h"
#include "codegen/text_kernel.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "runtime/executor.h"
#include "tools/commands.h"
#include "tools/subject.h"

namespace gradus::tools {
namespace {

struct OptOptions {
  std::string file;
  std::vector<std::string> passes;
  std::vector<std::string> disabled;
  bool print_each = false;
  bool list = false;
  bool run = false;
  bool json = false;
  std::string isa = "native";
};

std::string text_of(const std::string& file) {
  if (file != "-") return read_text(file);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

/// Equal bits, where all NaNs are one.
bool same(const Tensor& a, const Tensor& b) {
  return dispatch(a.type.element, [&](auto zero) {
    using T = decltype(zero);
    const auto x = a.as<T>();
    const auto y = b.as<T>();
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] != x[i] && y[i] != y[i]) continue;
      if (std::memcmp(&x[i], &y[i], sizeof(T)) != 0) return false;
    }
    return true;
  });
}

/// Counts comparisons and says on stderr how each ended.
class Comparison {
 public:
  void add(const std::string& what, const Tensor& expected, const Tensor& found) {
    const bool equal = same(expected, found);
    std::cerr << fmt::format("{} {}: {}\n", what, to_string(expected.type),
                             equal ? "the same bits" : "DIFFERENT");
    if (!equal) ++different_;
  }
  [[nodiscard]] int status() const { return different_ == 0 ? 0 : 1; }

 private:
  int different_ = 0;
};

codegen::InstructionSet set_of(const OptOptions& options) {
  const codegen::InstructionSet set = *codegen::parse_instruction_set(options.isa);
  if (!codegen::host_supports(set)) {
    throw UserError("E2001", "this machine cannot run code for " + options.isa);
  }
  return set;
}

/// The interpreter against fused kernels.
int run_graph(const ir::Graph& graph, const OptOptions& options) {
  Subject subject = random_subject(ir::parse_graph(to_text(graph)));
  std::map<std::string, Tensor> inputs;
  std::size_t number = 0;
  for (ir::NodeId id : subject.graph.inputs()) {
    const auto name = subject.graph.node(id).attributes.get<std::string>("name");
    if (const runtime::StateEntry* entry = subject.layout.find(name)) {
      Tensor& value = inputs.emplace(name, entry->type).first->second;
      std::memcpy(value.bytes.data(), subject.state.data() + entry->offset, value.bytes.size());
    } else {
      inputs.emplace(name, subject.inputs[number++]);
    }
  }
  const ir::Interpretation expected = ir::interpret(subject.graph, inputs);
  codegen::CompileOptions compile_options;
  compile_options.set = set_of(options);
  codegen::Plan plan = codegen::plan_program(subject.graph, compile_options);
  const runtime::Executable executable = compile(plan, subject.layout, compile_options);
  runtime::Executor executor(1);
  std::vector<std::span<const std::byte>> given;
  for (const Tensor& input : subject.inputs) given.emplace_back(input.bytes);
  (void)executor.run(executable, subject.state, given);
  Comparison comparison;
  for (std::size_t i = 0; i < executable.outputs.size(); ++i) {
    const std::string& name = executable.outputs[i].name;
    comparison.add(name, expected.outputs.at(name), executor.output(executable, i));
  }
  for (const auto& [name, value] : expected.updates) {
    const runtime::StateEntry* entry = subject.layout.find(name);
    Tensor found(entry->type);
    std::memcpy(found.bytes.data(), subject.state.data() + entry->offset, found.bytes.size());
    comparison.add(name, value, found);
  }
  return comparison.status();
}

/// The kernel interpreter against machine code.
int run_kernels(const std::vector<codegen::Kernel>& kernels, const OptOptions& options) {
  Comparison comparison;
  const codegen::Target target = codegen::make_target(set_of(options));
  const codegen::MachineCode code = codegen::compile(kernels, target, 1);
  for (std::size_t k = 0; k < kernels.size(); ++k) {
    const codegen::Kernel& kernel = kernels[k];
    std::vector<Tensor> expected;
    for (const codegen::Buffer& buffer : kernel.buffers) {
      if (buffer.role == codegen::BufferRole::scratch) continue;
      Tensor& tensor = expected.emplace_back(buffer.type);
      fill_randomly(buffer.type, static_cast<std::uint32_t>(expected.size()), tensor.bytes);
    }
    std::vector<Tensor> found = expected;
    const auto pointers = [](std::vector<Tensor>& tensors) {
      std::vector<std::byte*> result;
      for (Tensor& tensor : tensors) result.push_back(tensor.bytes.data());
      return result;
    };
    runtime::FaultWord fault = 0;
    codegen::interpret(kernel, pointers(expected), &fault);
    runtime::AlignedBytes scratch = runtime::allocate(
        std::max<std::int64_t>(code.kernels[k].scratch_bytes, 64), "the kernel's scratch");
    {
      const FloatEnvironment environment;
      code.kernels[k].function(pointers(found).data(), scratch.data(), 0, kernel.task_count(),
                               &fault);
    }
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (kernel.buffers[i].role == codegen::BufferRole::input) continue;
      comparison.add(kernel.name + " " + kernel.buffers[i].name, expected[i], found[i]);
    }
  }
  return comparison.status();
}

void print(const std::string& text, const OptOptions& options) {
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"text", text}} << '\n';
  } else {
    std::cout << text;
  }
}

int opt_kernels(const std::string& text, const OptOptions& options) {
  if (!options.passes.empty() || !options.disabled.empty() || options.print_each) {
    throw UserError("E2003", "passes work on graphs; this is the text of kernels");
  }
  const std::vector<codegen::Kernel> kernels = codegen::read_kernels(text, options.file);
  std::string result;
  for (const codegen::Kernel& kernel : kernels) result += to_string(kernel) + '\n';
  print(result, options);
  return options.run ? run_kernels(kernels, options) : 0;
}

std::vector<passes::Pass> chosen_passes(const OptOptions& options) {
  const auto known = [](const std::string& name) -> const passes::Pass& {
    const passes::Pass* pass = passes::find_pass(name);
    if (pass == nullptr) {
      throw UserError("E2002", fmt::format("there is no pass '{}'; gradus opt --list names them",
                                           name));
    }
    return *pass;
  };
  for (const std::string& name : options.disabled) (void)known(name);
  if (options.passes.empty()) return {passes::pipeline().begin(), passes::pipeline().end()};
  std::vector<passes::Pass> chosen;
  for (const std::string& name : options.passes) chosen.push_back(known(name));
  return chosen;
}

int opt_graph(const std::string& text, const OptOptions& options) {
  const std::vector<passes::Pass> chosen = chosen_passes(options);
  const ir::Graph graph = ir::parse_graph(text, options.file);
  passes::PipelineOptions pipeline;
  pipeline.disabled.insert(options.disabled.begin(), options.disabled.end());
  if (options.print_each) {
    pipeline.after = [](const passes::PassReport& report, const ir::Graph& after) {
      std::cerr << fmt::format("# {} {}: {}, {:.2f} ms\n", report.number, report.name,
                               report.changed ? "changed" : "unchanged", 1e3 * report.seconds);
      if (report.changed) std::cerr << to_text(after);
    };
  }
  const ir::Graph result = passes::run_passes(graph, chosen, pipeline);
  print(to_text(result), options);
  return options.run ? run_graph(result, options) : 0;
}

int opt(const OptOptions& options) {
  if (options.list) {
    for (const passes::Pass& pass : passes::pipeline()) {
      std::cout << fmt::format("{:<28} {}\n", pass.name, pass.doc);
    }
    return 0;
  }
  if (options.file.empty()) throw UserError("E2004", "opt needs a file, or - for standard input");
  const std::string text = text_of(options.file);
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  const bool kernels = options.file.ends_with(".kernel") ||
                       (begin != std::string::npos && text.compare(begin, 7, "kernel ") == 0);
  return kernels ? opt_kernels(text, options) : opt_graph(text, options);
}

}  // namespace

void add_opt(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand(
      "opt", "Read the text of a graph or of kernels, run passes, write it again");
  command->footer(
      "Example: gradus opt step.ir --passes simplify --run\n"
      "         gradus inspect models/digits_mlp.json --stage kernels | gradus opt - --run");
  auto options = std::make_shared<OptOptions>();
  command->add_option("file", options->file, "Text of a graph (.ir) or of kernels (.kernel), or -");
  command->add_option("--passes", options->passes, "These, in this order (default: all)")
      ->delimiter(',');
  command->add_option("--disable", options->disabled, "Leave these out")->delimiter(',');
  command->add_flag("--print-each", options->print_each, "The graph after each pass, on stderr");
  command->add_flag("--list", options->list, "Name the passes in their order");
  command->add_flag("--run", options->run,
                    "Compare the interpreter with machine code on random inputs");
  command->add_flag("--json", options->json, "The text as a JSON string");
  command->add_option("--isa", options->isa, "Instruction set of --run")
      ->check(CLI::IsMember({"native", "x86-64", "x86-64-v3", "x86-64-v4"}));
  command->callback([options, &status] { status = opt(*options); });
}

}  // namespace gradus::tools
