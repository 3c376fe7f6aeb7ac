#include <CLI/CLI.hpp>
#include <iostream>

#include "base/check.h"
#include "base/diagnostic.h"
#include "tools/commands.h"

namespace {

std::string source_of(const gradus::Diagnostic& diagnostic) {
  if (diagnostic.where.line == 0) return {};
  try {
    return gradus::tools::read_text(diagnostic.where.file);
  } catch (const gradus::UserError&) {
    return {};
  }
}

/// What to say when the first word is no command; empty when it is one.
std::string unknown_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return {};
  std::string known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() == argv[1]) return {};
    known += (known.empty() ? "" : ", ") + command->get_name();
  }
  return "there is no command '" + std::string(argv[1]) + "'; expected " + known;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Gradus compiles a whole training step, described in JSON, to native kernels.",
               "gradus");
  app.require_subcommand(1);
  int status = 0;
  gradus::tools::add_train(app, status);
  gradus::tools::add_evaluate(app, status);
  gradus::tools::add_predict(app, status);
  gradus::tools::add_generate(app, status);
  gradus::tools::add_compile(app, status);
  gradus::tools::add_inspect(app, status);
  gradus::tools::add_opt(app, status);
  gradus::tools::add_bench(app, status);
  gradus::tools::add_gradcheck(app, status);
  gradus::tools::add_explain(app, status);
  gradus::tools::add_docs(app, status);
  gradus::tools::add_doctor(app, status);
  gradus::tools::add_cache(app, status);
  try {
    if (const std::string unknown = unknown_command(app, argc, argv); !unknown.empty()) {
      throw gradus::UserError("E2002", unknown);
    }
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const gradus::UserError& error) {
    for (const gradus::Diagnostic& diagnostic : error.diagnostics()) {
      std::cerr << render(diagnostic, source_of(diagnostic));
    }
    return static_cast<int>(error.error_class());
  } catch (const std::bad_alloc&) {
    std::cerr << "error[E5001]: out of memory\n";
    return static_cast<int>(gradus::ErrorClass::memory);
  } catch (const std::exception& error) {
    std::cerr << "internal error: " << error.what() << '\n';
    return 70;
  }
  return status;
}
