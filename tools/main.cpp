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

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Gradus compiles a whole training step, described in JSON, to native kernels.",
               "gradus");
  app.require_subcommand(1);
  int status = 0;
  gradus::tools::add_train(app, status);
  gradus::tools::add_evaluate(app, status);
  gradus::tools::add_predict(app, status);
  gradus::tools::add_compile(app, status);
  gradus::tools::add_inspect(app, status);
  gradus::tools::add_opt(app, status);
  gradus::tools::add_bench(app, status);
  gradus::tools::add_gradcheck(app, status);
  gradus::tools::add_explain(app, status);
  gradus::tools::add_docs(app, status);
  gradus::tools::add_cache(app, status);
  try {
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
