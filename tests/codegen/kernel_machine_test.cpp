// The kernels of tests/text/kernel, compiled for every instruction set that this machine has, give
// the bits of the kernel interpreter.

#include <gtest/gtest.h>

#include "codegen/interpret_kernel.h"
#include "codegen/text_kernel.h"
#include "kernel_execution.h"
#include "kernel_texts.h"

namespace gradus::codegen {
namespace {

TEST(KernelMachineCode, GivesTheBitsOfTheInterpreter) {
  std::vector<Kernel> kernels;
  for (const std::string& name : kernel_names()) kernels.push_back(parse_kernel(kernel_text(name)));
  int sets = 0;
  for (InstructionSet set : kInstructionSets) {
    if (!host_supports(set)) continue;
    ++sets;
    const MachineCode code = compile(kernels, make_target(set), 1);
    for (std::size_t k = 0; k < kernels.size(); ++k) {
      std::vector<Tensor> expected = random_parameters(kernels[k], 5);
      std::vector<Tensor> found = expected;
      runtime::FaultWord fault = 0;
      interpret(kernels[k], addresses(expected), &fault);
      const runtime::FaultWord word =
          run_compiled(code.kernels[k], kernels[k].task_count(), addresses(found));
      EXPECT_EQ(word, fault) << kernels[k].name << " for " << to_string(set);
      EXPECT_EQ(found, expected) << kernels[k].name << " for " << to_string(set);
    }
  }
  EXPECT_GE(sets, 1);
}

}  // namespace
}  // namespace gradus::codegen
