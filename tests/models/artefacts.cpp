#include "tests/models/artefacts.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "tests/models/program.h"

namespace gradus {
namespace {

using codegen::ArtefactArgument;
using codegen::ArtefactFunction;

constexpr const char* kBegin = R"(#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model.h"

/* Aligned only as its elements are, where `odd`. */
static void *block(size_t bytes, int odd) {
  char *memory = malloc(bytes + 128);
  if (memory == NULL) exit(100);
  memset(memory, 0, bytes + 128);
  return memory + (64 - (uintptr_t)memory % 64) + (odd ? 8 : 0);
}
static void *filled(size_t bytes, int odd) {
  void *memory = block(bytes, odd);
  if (fread(memory, 1, bytes, stdin) != bytes) exit(101);
  return memory;
}

static m_state state;

int main(void) {
  m_context *context;
  int32_t status = m_open(&context, 3);
  if (status != M_OK) return 102;
)";

std::string call_of(const ArtefactFunction& function) {
  std::string arguments = "context, &state", after;
  if (!function.batches.empty()) arguments += fmt::format(", {}", function.batches[0]);
  std::string text = "  {\n";
  for (std::size_t i = 0; i < function.inputs.size(); ++i) {
    const ArtefactArgument& input = function.inputs[i];
    text += fmt::format("    void *input{} = filled({}, {});\n", i, input.type.byte_size(), i % 2);
    constexpr std::string_view types[] = {"float",    "double",  "int32_t", "int64_t",
                                          "uint32_t", "uint8_t", "uint8_t"};
    const std::string_view type = types[static_cast<std::size_t>(input.type.element)];
    arguments +=
        input.by_value ? fmt::format(", *({}*)input{}", type, i) : fmt::format(", input{}", i);
  }
  for (std::size_t i = 0; i < function.outputs.size(); ++i) {
    const std::int64_t bytes = function.outputs[i].type.byte_size();
    text += fmt::format("    void *output{} = block({}, 1);\n", i, bytes);
    arguments += fmt::format(", output{}", i);
    after += fmt::format("    fwrite(output{}, 1, {}, stdout);\n", i, bytes);
  }
  text += fmt::format("    status = m_{}({});\n", function.name, arguments);
  text += "    fwrite(&status, 4, 1, stdout);\n" + after;
  return text + "    fwrite(&state, 1, M_STATE_BYTES, stdout);\n  }\n";
}

}  // namespace

std::string missing_program(const Machine& machine) {
  for (const std::string& program : {machine.compiler, machine.emulator}) {
    const std::string name = program.substr(0, program.find(' '));
    if (name.empty()) continue;
    if (run_shell("/", "command -v " + name + " > /dev/null").status != 0) return name;
  }
  return {};
}

std::vector<CallResult> call_all(const std::filesystem::path& folder, const Machine& machine,
                                 const codegen::ArtefactModel& model,
                                 const codegen::Artefact& artefact,
                                 const std::vector<std::vector<Tensor>>& inputs) {
  const std::vector<ArtefactFunction> functions = artefact_functions(model);
  std::string text = kBegin;
  for (const ArtefactFunction& function : functions) text += call_of(function);
  std::ofstream(folder / "main.c") << text + "  m_close(context);\n  return 0;\n}\n";
  std::ofstream(folder / "model.h") << artefact.header;
  std::ofstream(folder / "model.o", std::ios::binary) << artefact.code;
  std::ofstream input(folder / "input", std::ios::binary);
  for (const std::vector<Tensor>& of_function : inputs) {
    for (const Tensor& tensor : of_function) {
      input.write(reinterpret_cast<const char*>(tensor.bytes.data()),
                  static_cast<std::streamsize>(tensor.bytes.size()));
    }
  }
  input.close();
  const Outcome outcome = run_shell(
      folder, machine.compiler +
                  " -std=c11 -Wall -Wextra -Wpedantic -Werror main.c model.o -lm -lpthread -o main "
                  "&& " +
                  machine.emulator + " ./main < input > output");
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  std::vector<CallResult> results;
  const std::string output = contents(folder / "output");
  std::size_t at = 0;
  const auto take = [&](void* to, std::size_t bytes) {
    if (at + bytes > output.size()) return;
    std::memcpy(to, output.data() + at, bytes);
    at += bytes;
  };
  for (const ArtefactFunction& function : functions) {
    CallResult& result = results.emplace_back();
    take(&result.status, 4);
    for (const ArtefactArgument& argument : function.outputs) {
      Tensor& tensor = result.outputs.emplace_back(argument.type);
      take(tensor.bytes.data(), tensor.bytes.size());
    }
    result.state = runtime::allocate(model.layout.bytes, "state");
    take(result.state.data(), result.state.size());
  }
  EXPECT_EQ(at, output.size());
  return results;
}

}  // namespace gradus
