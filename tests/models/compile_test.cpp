// Compiled ahead of time: a C program that knows nothing but the header calls the kernels, and the
// bytes are those of the kernel interpreter.

#include <fmt/format.h>

#include <fstream>

#include "codegen/interpret_kernel.h"
#include "codegen/jit.h"
#include "codegen/text_kernel.h"
#include "tests/models/executors.h"
#include "tests/models/program.h"

namespace gradus {
namespace {

using codegen::BufferRole;
using codegen::Kernel;

/// Buffers of every kernel in order, with random contents.
std::vector<std::vector<Tensor>> random_buffers(const std::vector<Kernel>& kernels) {
  std::vector<std::vector<Tensor>> all;
  std::uint32_t seed = 0;
  for (const Kernel& kernel : kernels) {
    std::vector<Tensor>& buffers = all.emplace_back();
    for (const codegen::Buffer& buffer : kernel.buffers) {
      if (buffer.role == BufferRole::scratch) break;
      buffers.push_back(random_tensor(buffer.type, ++seed, 0, 2));
    }
  }
  return all;
}

std::string bytes_of(const std::vector<std::vector<Tensor>>& buffers) {
  std::string bytes;
  for (const std::vector<Tensor>& of_kernel : buffers) {
    for (const Tensor& tensor : of_kernel) {
      bytes.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    }
  }
  return bytes;
}

/// A program that reads the buffers of all kernels, calls each, task by task, and writes them.
std::string caller(const std::vector<Kernel>& kernels, const std::vector<std::string>& symbols) {
  std::string text =
      "#include <stdio.h>\n#include <stdlib.h>\n#include <xmmintrin.h>\n#include \"kernels.h\"\n"
      "static void *block(size_t bytes) {\n"
      "  void *memory = malloc(bytes + 64);\n"
      "  if (memory == NULL) exit(1);\n"
      "  return (char *)memory + (64 - (uintptr_t)memory % 64);\n}\n"
      "static void *filled(size_t bytes) {\n"
      "  void *memory = block(bytes);\n"
      "  if (fread(memory, 1, bytes, stdin) != bytes) exit(1);\n"
      "  return memory;\n}\n"
      "int main(void) {\n  uint64_t fault = 0;\n  void *scratch = block(1 << 20);\n"
      "  _mm_setcsr(_mm_getcsr() | 0x8040);\n";
  for (std::size_t k = 0; k < kernels.size(); ++k) {
    std::string blocks, writes;
    for (const codegen::Buffer& buffer : kernels[k].buffers) {
      if (buffer.role == BufferRole::scratch) break;
      const std::size_t number = static_cast<std::size_t>(&buffer - kernels[k].buffers.data());
      text += fmt::format("  void *b{}_{} = filled({});\n", k, number, buffer.type.byte_size());
      blocks += fmt::format("{}b{}_{}", blocks.empty() ? "" : ", ", k, number);
      writes +=
          fmt::format("  fwrite(b{}_{}, 1, {}, stdout);\n", k, number, buffer.type.byte_size());
    }
    text += fmt::format(
        "  void *const buffers{0}[] = {{{1}}};\n"
        "  for (int64_t t = {2}; t-- > 0;) {3}(buffers{0}, scratch, t, t + 1, &fault);\n{4}",
        k, blocks, kernels[k].task_count(), symbols[k], writes);
  }
  return text + "  return fault != 0;\n}\n";
}

TEST_F(Program, CompiledAheadOfTimeItGivesTheBitsOfTheInterpreter) {
  const std::string model = "models/spirals_mlp.json";
  for (codegen::InstructionSet set : codegen::kInstructionSets) {
    const std::string isa = " --isa " + std::string(to_string(set));
    const Outcome compiled = gradus("compile " + model + " --what train_step,init -o " +
                                    (folder_ / "kernels.o").string() + isa);
    ASSERT_EQ(compiled.status, 0) << compiled.output;  // for machines unlike this one too
    if (!codegen::host_supports(set)) continue;
    std::string text;
    for (const char* program : {"train_step", "init"}) {
      text += gradus("inspect " + model + " --stage kernels --program " + program + isa).output;
    }
    const std::vector<Kernel> kernels = codegen::read_kernels(text);
    ASSERT_GT(kernels.size(), 10u);
    std::vector<std::vector<Tensor>> buffers = random_buffers(kernels);
    std::ofstream(folder_ / "main.c") << caller(kernels, codegen::kernel_symbols(kernels));
    std::ofstream(folder_ / "input", std::ios::binary) << bytes_of(buffers);
    const Outcome run = run_shell(folder_,
                                  "cc -std=c99 -Wall -Wextra -Wpedantic -Werror main.c "
                                  "kernels.o -lm -o main && ./main < input > output");
    ASSERT_EQ(run.status, 0) << run.output;
    for (std::size_t k = 0; k < kernels.size(); ++k) {
      std::vector<std::byte*> addresses;
      for (Tensor& tensor : buffers[k]) addresses.push_back(tensor.bytes.data());
      codegen::interpret(kernels[k], addresses, nullptr);
    }
    EXPECT_TRUE(contents(folder_ / "output") == bytes_of(buffers)) << isa;
  }
}

}  // namespace
}  // namespace gradus
