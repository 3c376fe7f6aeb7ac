#pragma once

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
void add_compile(CLI::App& app, int& status);
void add_inspect(CLI::App& app, int& status);
void add_opt(CLI::App& app, int& status);
void add_bench(CLI::App& app, int& status);
void add_gradcheck(CLI::App& app, int& status);
void add_explain(CLI::App& app, int& status);
void add_docs(CLI::App& app, int& status);
void add_cache(CLI::App& app, int& status);

/// What every command that runs a model takes.
struct ModelOptions {
  std::string file;
  std::vector<std::string> overrides;
  std::string isa = "native";
  bool no_fuse = false;
  int threads = 0;  // 0: one per core
  bool json = false;
  bool no_cache = false;

  void add_to(CLI::App& command);
  [[nodiscard]] frontend::Model model() const;
  [[nodiscard]] codegen::CompileOptions compile_options() const;
  [[nodiscard]] int workers() const;

 private:
  mutable std::shared_ptr<codegen::CodeStore> store_;  // opened when first asked for
};

}  // namespace gradus::tools
