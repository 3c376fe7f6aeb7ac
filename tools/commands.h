#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tools/session.h"

namespace CLI {
class App;
}

namespace gradus::tools {

// Each adds one subcommand, which stores the exit code in `status` when it runs.
void add_train(CLI::App& app, int& status);
void add_evaluate(CLI::App& app, int& status);
void add_predict(CLI::App& app, int& status);
void add_generate(CLI::App& app, int& status);
void add_compile(CLI::App& app, int& status);
void add_inspect(CLI::App& app, int& status);
void add_opt(CLI::App& app, int& status);
void add_bench(CLI::App& app, int& status);
void add_gradcheck(CLI::App& app, int& status);
void add_explain(CLI::App& app, int& status);
void add_docs(CLI::App& app, int& status);
void add_doctor(CLI::App& app, int& status);
void add_cache(CLI::App& app, int& status);

/// What --json means, for every command.
inline constexpr const char* kJsonHelp = "Machine-readable output on stdout";
/// The version of what --json prints; greater when a key is taken away or changes its meaning.
inline constexpr int kJsonVersion = 1;
/// Prints `object` on one line, with the version as its first key.
void print_json(const nlohmann::ordered_json& object);

/// What --isa takes.
[[nodiscard]] std::vector<std::string> instruction_set_names();
/// Adds the option --isa.
void add_isa(CLI::App& command, std::string& isa);
/// The instruction set of that name. Throws UserError E2001 when this machine cannot run it.
[[nodiscard]] codegen::InstructionSet runnable_set(const std::string& isa);

/// Functions and lines in compiled code: what debuggers want, announced to nobody.
[[nodiscard]] codegen::DebugOptions debug_lines();

/// What commands take that read a model and make a program of it.
struct ModelOptions {
  std::string file;
  std::vector<std::string> overrides;
  std::string isa = "native";
  bool no_fuse = false;
  int threads = 0;  // 0: one per core
  bool json = false;
  bool no_cache = false;
  std::vector<std::string> debug;  // tools that are told of the kernels
  std::string memory;              // "512M"; empty: any
  bool tune = false;

  /// Adds the options of all commands that read a model.
  void add_file_to(CLI::App& command);
  /// Adds these and how programs are made. Without `runs` the command compiles for other machines,
  /// with options of its own for that.
  void add_to(CLI::App& command, bool runs = true);
  /// Adds the option --tune.
  void add_tune_to(CLI::App& command);
  /// How contractions were chosen so far: how many were measured and how many remembered; null
  /// without --tune.
  [[nodiscard]] nlohmann::ordered_json tuned() const;
  /// Throws UserError E2006 when --memory is no size.
  [[nodiscard]] codegen::MemoryLimit memory_limit() const;
  [[nodiscard]] frontend::Model model() const;
  /// Throws UserError E2001 when this machine cannot run what is compiled.
  [[nodiscard]] codegen::CompileOptions compile_options() const;
  /// That of --tune; null without.
  [[nodiscard]] codegen::Tuner* tuner() const;
  [[nodiscard]] int workers() const;

 private:
  [[nodiscard]] codegen::CodeStore* store() const;

  // Made when first asked for.
  mutable std::shared_ptr<codegen::CodeStore> store_;
  mutable std::shared_ptr<codegen::MeasuringTuner> tuner_;
};

}  // namespace gradus::tools
