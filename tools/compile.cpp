#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cctype>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "codegen/jit.h"
#include "runtime/file.h"
#include "tools/commands.h"

namespace gradus::tools {
namespace {

struct CompileCommand {
  ModelOptions model;
  std::string output;
  std::vector<std::string> programs = {"train_step"};
  std::int64_t batch = 0;  // 0: the model's
};

/// The kernels of the chosen programs.
struct Kernels {
  std::vector<codegen::Kernel> kernels;
  std::vector<std::string> programs;        // by kernel
  std::vector<std::string> symbols;         // by kernel
  std::vector<std::int64_t> scratch_bytes;  // by kernel
};

Kernels kernels_of(const CompileCommand& command, const frontend::Model& model,
                   const codegen::CompileOptions& options) {
  Kernels result;
  for (const std::string& name : command.programs) {
    constexpr std::int64_t kWholeBatch = 1000;  // where the data decide
    const std::int64_t own = model.training().batch > 0 ? model.training().batch : kWholeBatch;
    const std::int64_t batch = command.batch > 0 ? command.batch : own;
    const ir::Graph graph = graph_of(model, *runtime::parse_program(name), batch);
    for (codegen::ScheduledKernel& kernel : codegen::plan_program(graph, options).kernels) {
      result.kernels.push_back(std::move(kernel.kernel));
      result.programs.push_back(name);
    }
  }
  return result;
}

std::string_view role_name(codegen::BufferRole role) {
  switch (role) {
    case codegen::BufferRole::input:
      return "read";
    case codegen::BufferRole::output:
      return "written";
    default:
      return "read and written";
  }
}

std::string guard_name(const std::string& model) {
  std::string name = "GRADUS_";
  for (char c : model) {
    name += std::isalnum(static_cast<unsigned char>(c))
                ? static_cast<char>(std::toupper(static_cast<unsigned char>(c)))
                : '_';
  }
  return name + "_H";
}

/// `text` as it may stand in a C comment.
std::string in_comment(std::string text) {
  for (auto at = text.find("*/"); at != text.npos; at = text.find("*/", at)) {
    text.replace(at, 2, "* /");
  }
  return text;
}

/// The C header of the kernels' binary interface.
std::string header(const frontend::Model& model, const Kernels& all, const std::string& isa) {
  const std::string guard = guard_name(model.name());
  std::string text = fmt::format(
      "#ifndef {0}\n#define {0}\n\n"
      "/* The kernels of the model \"{1}\" for {2}.\n"
      "\n"
      "   A kernel runs tasks [first_task, last_task) of its tasks, which may run in any order "
      "and\n"
      "   on any thread. `buffers` are its parameters in the order given below, each 64-byte\n"
      "   aligned. `scratch` is memory of the thread's own, 64-byte aligned, of the size given\n"
      "   below. `fault` is 0 and stays 0 unless the step is invalid (an index out of range, a\n"
      "   division by zero). Before the call the thread sets flush-to-zero and\n"
      "   denormals-are-zero (MXCSR bits 15 and 6), which the results depend on. Kernels with "
      "equal\n"
      "   contents share one symbol. */\n\n"
      "#include <stdint.h>\n\n"
      "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
      "typedef void gradus_kernel(void* const* buffers, void* scratch, int64_t first_task,\n"
      "                           int64_t last_task, uint64_t* fault);\n",
      guard, in_comment(model.name()), isa);
  for (std::size_t i = 0; i < all.kernels.size(); ++i) {
    const codegen::Kernel& kernel = all.kernels[i];
    text += fmt::format("\n/* Kernel {} of {}: {}\n", i, all.programs[i], kernel.name);
    if (!kernel.provenance.empty())
      text += fmt::format("   from {}\n", in_comment(kernel.provenance));
    text +=
        fmt::format("   tasks {}, scratch {} bytes\n", kernel.task_count(), all.scratch_bytes[i]);
    std::size_t number = 0;
    for (const codegen::Buffer& buffer : kernel.buffers) {
      if (buffer.role == codegen::BufferRole::scratch) continue;
      text += fmt::format("   buffers[{}]: {} {}, {}\n", number++, in_comment(buffer.name),
                          to_string(buffer.type), role_name(buffer.role));
    }
    text += fmt::format("*/\nextern gradus_kernel {};\n", all.symbols[i]);
  }
  return text + fmt::format("\n#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {} */\n", guard);
}

void write(const std::string& path, const std::string& bytes) {
  runtime::OutputFile file(path);
  file.write(bytes);
  file.commit();
}

struct Form {
  std::string_view extension;
  codegen::CodeForm form;
};
constexpr Form kForms[] = {{".o", codegen::CodeForm::object},
                           {".s", codegen::CodeForm::assembly},
                           {".ll", codegen::CodeForm::llvm_ir}};

int compile_model(const CompileCommand& command) {
  const frontend::Model model = command.model.model();
  const codegen::CompileOptions options = command.model.cross_compile_options();
  const std::filesystem::path output =
      command.output.empty() ? std::filesystem::path(command.model.file).stem() += ".o"
                             : std::filesystem::path(command.output);
  const Form* form = nullptr;
  for (const Form& known : kForms) {
    if (output.extension() == known.extension) form = &known;
  }
  if (form == nullptr) {
    throw UserError("E2005", fmt::format("{} does not say what to write; expected a name that ends "
                                         "in .o, .s or .ll",
                                         output.string()));
  }
  Kernels all = kernels_of(command, model, options);
  codegen::GeneratedCode code =
      generate_code(all.kernels, codegen::make_target(options.set), form->form);
  all.symbols = std::move(code.symbols);
  all.scratch_bytes = std::move(code.scratch_bytes);
  write(output.string(), code.code);
  const std::string header_path = std::filesystem::path(output).replace_extension(".h").string();
  write(header_path, header(model, all, command.model.isa));
  if (command.model.json) {
    print_json({{"output", output.string()}, {"header", header_path}, {"kernels", all.symbols}});
  } else {
    std::cout << fmt::format("{} kernels in {}, declared in {}\n", all.kernels.size(),
                             output.string(), header_path);
  }
  return 0;
}

}  // namespace

void add_compile(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("compile", "Write a model's kernels as an object file with a C header");
  command->footer("Example: gradus compile models/digits_mlp.json -o digits.o --isa x86-64-v3");
  auto options = std::make_shared<CompileCommand>();
  options->model.add_to(*command);
  command->add_option(
      "-o,--output", options->output,
      "File: .o object, .s assembly or .ll LLVM IR; the header is written beside it");
  command->add_option("--what", options->programs, "Programs: init, train_step, evaluate, predict")
      ->delimiter(',')
      ->check(CLI::IsMember({"init", "train_step", "evaluate", "predict"}));
  command->add_option("--batch", options->batch, "Examples per batch (default: the model's)")
      ->check(CLI::PositiveNumber);
  command->callback([options, &status] { status = compile_model(*options); });
}

}  // namespace gradus::tools
