#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "codegen/artefact.h"
#include "runtime/file.h"
#include "tools/commands.h"
#include "tools/memory_report.h"

namespace gradus::tools {
namespace {

struct CompileCommand {
  ModelOptions model;
  std::string output;
  std::string name;  // empty: the model's
  std::vector<std::string> what = {"train", "predict"};
  std::vector<std::string> isas = {"native"};
  std::vector<std::int64_t> batches;  // empty: the model's
  std::string linker;                 // empty: the processor family's
  bool debug_info = false;
};

/// What the output's ending stands for.
struct Form {
  std::string_view extension;
  codegen::CodeForm form;
};
constexpr Form kForms[] = {{".o", codegen::CodeForm::object},
                           {".a", codegen::CodeForm::object},
                           {".so", codegen::CodeForm::object},
                           {".s", codegen::CodeForm::assembly},
                           {".ll", codegen::CodeForm::llvm_ir}};

const Form& form_of(const std::filesystem::path& output) {
  for (const Form& known : kForms) {
    if (output.extension() == known.extension) return known;
  }
  throw UserError("E2005", fmt::format("{} does not say what to write; expected a name that ends "
                                       "in .o, .a, .so, .s or .ll",
                                       output.string()));
}

bool is_identifier(const std::string& name) {
  const auto is_part = [](unsigned char c) {
    return c < 0x80 && (std::isalnum(c) != 0 || c == '_');
  };
  return !name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
         std::ranges::all_of(name, is_part);
}

/// The beginning of every name in the header.
std::string name_of(const CompileCommand& command, const frontend::Model& model) {
  if (!command.name.empty()) {
    if (is_identifier(command.name)) return command.name;
    throw UserError("E2006", fmt::format("--name {} is not the beginning of a C identifier: "
                                         "expected letters, digits and underscores, no digit first",
                                         command.name));
  }
  std::string name = model.name();
  std::ranges::replace_if(name, [](char c) { return !is_identifier(std::string("x") + c); }, '_');
  return is_identifier(name) ? name : "model_" + name;
}

std::vector<codegen::InstructionSet> sets_of(const CompileCommand& command) {
  std::vector<codegen::InstructionSet> sets;
  for (const std::string& isa : command.isas) {
    sets.push_back(*codegen::parse_instruction_set(isa));
    if (!same_family(sets.front(), sets.back())) {
      throw UserError("E2006", fmt::format("--isa {} and {} are of different processors; expected "
                                           "sets of one",
                                           command.isas.front(), isa));
    }
  }
  return sets;
}

std::vector<std::int64_t> batches_of(const CompileCommand& command, const frontend::Model& model,
                                     bool trains) {
  std::vector<std::int64_t> batches;
  for (const std::int64_t batch : command.batches) {
    if (std::ranges::find(batches, batch) == batches.end()) batches.push_back(batch);
  }
  if (!batches.empty()) return batches;
  if (model.training().batch > 0) return {trains ? model.step_batch() : model.training().batch};
  throw UserError("E2004",
                  fmt::format("{} trains on all of its data at once; --batch says how many "
                              "examples these are",
                              command.model.file));
}

/// A function of the header, made of a program.
struct Function {
  std::string_view what;  // of --what
  std::string_view name;
  std::string_view summary;
  runtime::Program program;
};
constexpr Function kFunctions[] = {
    {"init", "init", "Writes the whole state, as at the start of training.",
     runtime::Program::init},
    {"train", "step",
     "One step of training: updates the state. The outputs are those before the update.",
     runtime::Program::train_step},
    {"evaluate", "evaluate", "Loss and metrics of a batch.", runtime::Program::evaluate},
    {"predict", "predict", "The model's outputs for a batch.", runtime::Program::predict},
    {"generate", "encode", "Reads what the encoder is given, before the first token.",
     runtime::Program::encode},
    {"generate", "decode",
     "Reads one token of every sequence, that at `position` 0, 1, 2 and so on: the logits are of "
     "the "
     "next one, and next is drawn by their softmax, with random numbers of the state's seed and "
     "step. Where sequences begin, the carried entries are set to 0, before a call of `encode` if "
     "there is one.",
     runtime::Program::decode}};

runtime::Program program_of(const codegen::ArtefactProgram& program) {
  return std::ranges::find(kFunctions, program.function, &Function::name)->program;
}

/// How many sequences are generated at the same time.
std::int64_t sequences_of(const CompileCommand& command) {
  if (command.what.size() > 1) {
    throw UserError("E2003",
                    "--what generate stands alone: the state of generation is another than "
                    "that of training");
  }
  if (command.batches.size() > 1) {
    throw UserError("E2003",
                    "--what generate takes one --batch: the number of sequences, for which "
                    "the state is made");
  }
  return command.batches.empty() ? 1 : command.batches.front();
}

codegen::ArtefactModel generating_artefact(const CompileCommand& command,
                                           const frontend::Model& model) {
  frontend::DecodeProgram program = model.decode(sequences_of(command), {});
  codegen::ArtefactModel artefact{
      name_of(command, model), model.name(), layout_of(model, program), {}, false};
  const auto add = [&](runtime::Program which, ir::Graph graph, const std::string& more) {
    const auto function = std::ranges::find(kFunctions, which, &Function::program);
    artefact.programs.push_back({std::string(function->name),
                                 std::string(function->summary) + more,
                                 0,
                                 std::move(graph),
                                 {}});
  };
  if (program.encode) add(runtime::Program::encode, std::move(*program.encode), "");
  add(runtime::Program::decode, std::move(program.graph),
      program.positions > 0 ? fmt::format(" There are {} positions.", program.positions) : "");
  return artefact;
}

codegen::ArtefactModel artefact_of(const CompileCommand& command, const frontend::Model& model) {
  if (std::ranges::find(command.what, "generate") != command.what.end()) {
    return generating_artefact(command, model);
  }
  codegen::ArtefactModel artefact{
      name_of(command, model), model.name(), layout_of(model), {}, false};
  const auto wanted = [&](std::string_view what) {
    return std::ranges::find(command.what, what) != command.what.end();
  };
  artefact.shuffles = wanted("train");
  for (const Function& function : kFunctions) {
    const bool is_init = function.program == runtime::Program::init;
    if (!wanted(function.what) && !(is_init && wanted("train"))) continue;
    std::vector<std::string> finite;
    const bool trains = function.program == runtime::Program::train_step;
    if (trains) {
      finite = losses_of(model);
      finite.emplace_back("gradient_norm");
    }
    for (const std::int64_t batch :
         is_init ? std::vector<std::int64_t>{0} : batches_of(command, model, trains)) {
      artefact.programs.push_back({std::string(function.name), std::string(function.summary), batch,
                                   graph_of(model, function.program, batch), finite});
    }
  }
  return artefact;
}

void write(const std::string& path, const std::string& bytes) {
  runtime::OutputFile file(path);
  file.write(bytes);
  file.commit();
}

/// Runs a program with these arguments; what it says goes to standard error.
int run(const std::vector<std::string>& arguments) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  pid_t process = 0;
  const int error =
      posix_spawnp(&process, pointers[0], &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  constexpr int kNotFound = 127;
  int status = 0;
  if (error != 0 || waitpid(process, &status, 0) != process) return kNotFound;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// A shared library of the object, made by the system's C compiler.
void link_shared(const std::string& output, const std::string& object, const std::string& linker) {
  const std::string object_path = output + ".o";
  write(object_path, object);
  const int status = run({linker, "-shared", "-o", output, object_path, "-lm", "-lpthread"});
  std::filesystem::remove(object_path);
  if (status == 0) return;
  const std::string what = status == 127 ? "cannot be run" : fmt::format("failed with {}", status);
  throw UserError("E4004",
                  fmt::format("the linker {} {}; expected a C compiler that makes shared libraries "
                              "for the instruction set (--linker)",
                              linker, what));
}

void write_code(const CompileCommand& command, const std::filesystem::path& output,
                const std::string& code, bool aarch64) {
  if (output.extension() == ".so") {
    const char* usual = aarch64 ? "aarch64-linux-gnu-gcc" : "cc";
    link_shared(output.string(), code, command.linker.empty() ? usual : command.linker);
  } else if (output.extension() == ".a") {
    write(output.string(), codegen::make_archive(output.stem().string() + ".o", code));
  } else {
    write(output.string(), code);
  }
}

int compile_model(const CompileCommand& command) {
  const frontend::Model model = command.model.model();
  const std::filesystem::path output =
      command.output.empty() ? std::filesystem::path(command.model.file).stem() += ".o"
                             : std::filesystem::path(command.output);
  const Form& form = form_of(output);
  const std::vector<codegen::InstructionSet> sets = sets_of(command);
  const codegen::ArtefactModel description = artefact_of(command, model);
  const codegen::DebugOptions debug = command.debug_info ? debug_lines() : codegen::DebugOptions();
  const auto plan = [&, limit = command.model.memory_limit()](
                        const codegen::ArtefactProgram& program,
                        const codegen::CompileOptions& options) {
    const runtime::Program built = program_of(program);
    const bool generates = built == runtime::Program::decode || built == runtime::Program::encode;
    const std::int64_t batch = generates ? sequences_of(command) : program.examples;
    return fitted_plan(build_program(model, built, batch), model, built, batch, options, limit)
        .plan;
  };
  const codegen::Artefact artefact = make_artefact(
      description, {sets, !command.model.no_fuse, form.form, debug, command.model.tuner(), plan});
  write_code(command, output, artefact.code, sets[0] == codegen::InstructionSet::aarch64);
  const std::string header_path = std::filesystem::path(output).replace_extension(".h").string();
  write(header_path, artefact.header);
  if (command.model.json) {
    nlohmann::ordered_json functions = nlohmann::ordered_json::array();
    for (const codegen::ArtefactProgram& program : description.programs) {
      functions.push_back(
          {{"name", description.name + "_" + program.function}, {"examples", program.examples}});
    }
    nlohmann::ordered_json json{{"output", output.string()},
                                {"header", header_path},
                                {"functions", functions},
                                {"kernels", artefact.kernels}};
    if (command.model.tune) json["tuned"] = command.model.tuned();
    print_json(json);
  } else {
    std::cout << fmt::format("{} programs, {} kernels in {}, declared in {}\n",
                             description.programs.size(), artefact.kernels.size(), output.string(),
                             header_path);
  }
  return 0;
}

}  // namespace

void add_compile(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand(
      "compile",
      "Write a model as an object file or library that needs no Gradus, with a C header");
  command->footer(
      "Example: gradus compile models/digits_mlp.json -o digits.a --isa x86-64-v3,x86-64-v4");
  auto options = std::make_shared<CompileCommand>();
  options->model.add_to(*command, /*runs=*/false);
  options->model.add_tune_to(*command);
  command->add_option("-o,--output", options->output,
                      "File: .o object, .a or .so library, .s assembly or .ll LLVM IR; the header "
                      "is written beside it");
  command
      ->add_option(
          "--what", options->what,
          "Functions: init, train (with init), evaluate, predict (default: train,predict); "
          "or generate, alone")
      ->delimiter(',')
      ->check(CLI::IsMember({"init", "train", "evaluate", "predict", "generate"}));
  command
      ->add_option("--isa", options->isas,
                   "Instruction sets in one artefact; at start the greatest is chosen that the "
                   "processor has (default: the greatest of this machine)")
      ->delimiter(',')
      ->check(CLI::IsMember(instruction_set_names()));
  command
      ->add_option("--batch", options->batches,
                   "Examples per batch; several sizes may be compiled (default: the model's); of "
                   "generate the sequences (default: 1)")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command->add_option("--name", options->name,
                      "Beginning of every name in the header (default: the model's name)");
  command->add_option("--linker", options->linker,
                      "C compiler that links a .so (default: cc; aarch64-linux-gnu-gcc)");
  command->add_flag("-g,--debug-info", options->debug_info,
                    "Kernels as functions with their lines of the model file (DWARF)");
  command->callback([options, &status] { status = compile_model(*options); });
}

}  // namespace gradus::tools
