#include "bench/show.h"

#include "bench/bounds.h"
#include "codegen/jit.h"
#include "codegen/text_kernel.h"
#include "ir/text.h"

namespace gradus::bench {

std::string shown(const Problem& problem, const std::string& what, int threads) {
  const Workload work = workload_of(problem);
  if (what == "graph") return ir::to_text(work.graph);
  const codegen::CompileOptions options = compile_options(threads);
  std::vector<codegen::Kernel> kernels;
  for (codegen::ScheduledKernel& scheduled : codegen::plan_program(work.graph, options).kernels) {
    kernels.push_back(std::move(scheduled.kernel));
  }
  if (what == "assembly") {
    const codegen::Target target = codegen::make_target(options.set);
    return codegen::generate_code(kernels, target, codegen::CodeForm::assembly).code;
  }
  if (what != "kernels") throw ProblemError("shown is graph, kernels or assembly, not " + what);
  std::string text;
  for (const codegen::Kernel& kernel : kernels) text += codegen::to_string(kernel);
  return text;
}

}  // namespace gradus::bench
