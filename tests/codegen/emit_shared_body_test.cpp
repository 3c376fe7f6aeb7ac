// Long bodies that read no memory: the bits of the interpreter, and one function per module.
// Kernels that differ in a few numbers: one function too.

#include <array>
#include <string>

#include "emit_support.h"

namespace gradus::codegen {
namespace {

constexpr ElementType f32 = ElementType::f32;
constexpr ElementType u32 = ElementType::u32;

/// What tells one such kernel from another.
struct Noise {
  std::int64_t m = 8;
  std::int64_t n = 16;
  std::uint32_t stream = 11;
  double scale = 0.5;
  const char* function = "log1p";
  bool reads = false;
};

/// A function of a random word, times a scale that is a constant or read; four rows share a
/// counter.
ir::ScalarProgram noise_program(const Noise& noise) {
  return program({f32}, [&](ir::ScalarBuilder& b, auto x) {
    const ir::Scalar row = convert(b.index(0, ElementType::i64), u32);
    const ir::Scalar low = b.constant(u32, 0xD2511F53u), high = b.constant(u32, 0xCD9E8D57u);
    std::array<ir::Scalar, 4> counter{convert(b.index(1, ElementType::i64), u32), row >> 2,
                                      b.constant(u32, noise.stream), b.constant(u32, 12)};
    for (int round = 0; round < 10; ++round) {
      counter = {
          b.emit(ir::ScalarOp::mul_high, u32, {high, counter[2]}) ^ counter[1], high * counter[2],
          b.emit(ir::ScalarOp::mul_high, u32, {low, counter[0]}) ^ counter[3], low * counter[0]};
    }
    const ir::Scalar word = row & b.constant(u32, 3);
    const auto is = [&](int number) { return equal(word, b.constant(u32, number)); };
    const ir::Scalar bits =
        select(is(0), counter[0], select(is(1), counter[1], select(is(2), counter[2], counter[3])));
    const ir::Scalar unit = convert(bits >> 8, f32) * 0x1p-24;
    const ir::Scalar drawn = b.call(noise.function, {unit});
    return std::vector<ir::Scalar>{noise.reads ? drawn * x[0] : drawn * noise.scale};
  });
}

Kernel noise_kernel(const Noise& noise) {
  Kernel kernel;
  kernel.name = "noise";
  kernel.axes = {{"m", noise.m, -1}, {"n", noise.n, -1}};
  kernel.tasks = {{0, {noise.m, 2, 4}}};
  kernel.buffers = {buffer("x", f32, {noise.m, noise.n}, BufferRole::input),
                    buffer("y", f32, {noise.m, noise.n}, BufferRole::output)};
  Loop loop;
  loop.axes = {0, 1};
  loop.body.loads = {{element(0, {0, 1}), {}}};
  loop.body.program = noise_program(noise);
  loop.stores = {{element(1, {0, 1}), 0}};
  kernel.stages = {loop};
  return kernel;
}

std::string code_of(const std::vector<Noise>& noises) {
  std::vector<Kernel> kernels;
  for (const Noise& noise : noises) kernels.push_back(noise_kernel(noise));
  return generate_code(kernels, make_target(InstructionSet::native), CodeForm::llvm_ir).code;
}

/// How many tables of constants the kernels have.
std::size_t tables(const std::vector<Noise>& noises) {
  const std::string code = code_of(noises);
  std::size_t count = 0;
  constexpr std::string_view kBegin = "\n@gradus_constants";
  for (std::size_t at = code.find(kBegin); at != code.npos; at = code.find(kBegin, at + 1)) ++count;
  return count;
}

/// How many functions of a name that begins so the kernels share.
std::size_t functions(const std::vector<Noise>& noises, const std::string& name = "gradus_body_") {
  const auto is_one = [&](const std::string& text, std::size_t at) {
    const std::size_t begin = text.find('@', at) + 1;
    return text.compare(begin, name.size(), name) == 0;
  };
  const std::string code = code_of(noises);
  std::size_t count = 0;
  for (std::size_t at = code.find("define internal"); at != std::string::npos;
       at = code.find("define internal", at + 1)) {
    if (is_one(code, at)) ++count;
  }
  return count;
}

TEST(EmitSharedBody, GivesTheBitsOfTheInterpreter) {
  for (const Noise& noise :
       {Noise{}, Noise{12, 37, 5, 3}, Noise{10, 48, 0x96dac494, -1}, Noise{8, 3, 7, 1e-30}}) {
    std::vector<Tensor> tensors = parameters(noise_kernel(noise));
    fill(tensors[0], 21);
    run_everywhere(noise_kernel(noise), tensors, [&](const std::vector<Tensor>& results) {
      const auto y = results[1].as<float>();
      EXPECT_NE(y[0], y[1]);
    });
  }
}

TEST(EmitSharedBody, IsOneForAllConstantsAndShapes) {
  EXPECT_EQ(functions({{}}), 1u);
  EXPECT_EQ(functions({{}, {.stream = 12}, {.scale = 2}, {.m = 16, .n = 64}}), 1u);
  EXPECT_EQ(functions({{}, {.function = "exp"}}), 2u);
}

/// What kernel `number` of those given stores, compiled together with the others or by the
/// interpreter.
std::vector<Tensor> stored(const std::vector<Kernel>& kernels, std::size_t number,
                           const MachineCode* code) {
  std::vector<Tensor> tensors = parameters(kernels[number]);
  fill(tensors[0], 21);
  if (code != nullptr) {
    EXPECT_EQ(run_tasks(code->kernels[number], tensors, 0, kernels[number].task_count()), 0u);
  } else {
    std::vector<std::byte*> pointers;
    for (Tensor& tensor : tensors) pointers.push_back(tensor.bytes.data());
    interpret(kernels[number], pointers, nullptr);
  }
  return tensors;
}

TEST(EmitSharedBody, EqualConstantsAreOneTable) {
  EXPECT_EQ(tables({{.n = 37}}), 1u);  // whole vectors and a rest
  EXPECT_EQ(tables({{}, {.m = 16, .n = 64}}), 1u);
  EXPECT_EQ(tables({{}, {.scale = 2}, {.stream = 12}, {.m = 16, .scale = 2}}), 3u);
}

TEST(EmitAlike, KernelsThatDifferInWordsAndTablesAreOneFunction) {
  EXPECT_EQ(functions({{}, {.stream = 12}, {.stream = 13}, {.scale = 2}}, "gradus_alike_"), 1u);
  EXPECT_EQ(functions({{}, {.m = 16}, {.function = "exp"}}, "gradus_alike_"), 0u);
  EXPECT_EQ(functions({{}, {.m = 16}, {.m = 16, .stream = 3}}, "gradus_alike_"), 1u);
}

TEST(EmitAlike, EachKeepsItsNumbers) {
  std::vector<Kernel> kernels;
  for (const Noise& noise : {Noise{}, Noise{.stream = 12}, Noise{.stream = 0x96dac494},
                             Noise{.scale = -3}, Noise{.m = 16}, Noise{.m = 16, .stream = 12}}) {
    kernels.push_back(noise_kernel(noise));
  }
  for (const Target& target : host_targets()) {
    const MachineCode code = compile(kernels, target, 1);
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      const std::vector<Tensor> expected = stored(kernels, i, nullptr);
      expect_same_tensor(stored(kernels, i, &code)[1], expected[1],
                         std::string(to_string(target.set)));
      if (i > 0) {
        EXPECT_FALSE(expected[1] == stored(kernels, 0, nullptr)[1]);
      }
    }
  }
}

TEST(EmitSharedBody, ReadsNoMemory) { EXPECT_EQ(functions({{.reads = true}}), 0u); }

}  // namespace
}  // namespace gradus::codegen
