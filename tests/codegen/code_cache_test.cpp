// Cached code: the same machine code again, and nothing from an entry that is not whole.

#include "codegen/code_cache.h"

#include "emit_support.h"
#include "memory_store.h"

namespace gradus::codegen {
namespace {

Kernel scaling(std::int64_t length, double factor) {
  Kernel kernel;
  kernel.name = "scaling";
  kernel.axes = {{"i", length, -1}};
  kernel.buffers = {buffer("x", ElementType::f32, {length}, BufferRole::input),
                    buffer("y", ElementType::f32, {length}, BufferRole::output)};
  Loop loop;
  loop.axes = {0};
  loop.body = {
      {{element(0, {0}), {}}},
      program({ElementType::f32},
              [&](ir::ScalarBuilder&, auto x) { return std::vector<ir::Scalar>{x[0] * factor}; }),
      {}};
  loop.stores = {{element(1, {0}), 0}};
  kernel.stages = {loop};
  return kernel;
}

std::vector<Kernel> kernels() { return {scaling(20, 3), scaling(33, 3), scaling(20, 5)}; }

/// Runs kernel 2 of `kernels()`: 5 x.
void expect_right(const MachineCode& code) {
  std::vector<Tensor> tensors = parameters(kernels()[2]);
  fill(tensors[0], 1);
  std::vector<std::byte*> pointers;
  for (Tensor& tensor : tensors) pointers.push_back(tensor.bytes.data());
  std::vector<std::byte, AlignedAllocator<std::byte>> scratch(4096);
  runtime::FaultWord fault = 0;
  code.kernels[2].function(pointers.data(), scratch.data(), 0, 1, &fault);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(tensors[1].as<float>()[i], tensors[0].as<float>()[i] * 5);
  }
}

TEST(CodeCache, TheSecondRunCompilesNothing) {
  MemoryStore store;
  const Target target = make_target(InstructionSet::native);
  const MachineCode first = compile(kernels(), target, 2, &store);
  EXPECT_EQ(first.report.compiled_modules, 2u);
  EXPECT_EQ(first.report.cached_modules, 0u);
  const MachineCode second = compile(kernels(), target, 2, &store);
  EXPECT_EQ(second.report.compiled_modules, 0u);
  EXPECT_EQ(second.report.cached_modules, 2u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(first.kernels[i].scratch_bytes, second.kernels[i].scratch_bytes);
    EXPECT_EQ(first.kernels[i].symbol, second.kernels[i].symbol);
  }
  expect_right(first);
  expect_right(second);
}

TEST(CodeCache, TheKeyIsEverythingThatCodeDependsOn) {
  const std::vector<Kernel> all = kernels();
  const std::string a = "a", b = "b";
  const auto key = [](const Kernel& kernel, const std::string& symbol, const Target& target) {
    const Kernel* kernels[] = {&kernel};
    const std::string* symbols[] = {&symbol};
    return code_key(kernels, symbols, target);
  };
  Target target = make_target(InstructionSet::x86_64_v3);
  const std::string own = key(all[0], a, target);
  EXPECT_EQ(own.size(), 64u);
  EXPECT_EQ(own, key(all[0], a, target));
  EXPECT_NE(own, key(all[0], b, target));
  EXPECT_NE(own, key(all[1], a, target));
  EXPECT_NE(own, key(all[2], a, target));
  target.features = "-fma";
  EXPECT_NE(own, key(all[0], a, target));
  EXPECT_NE(own, key(all[0], a, make_target(InstructionSet::x86_64)));
}

TEST(CodeCache, DamagedEntriesAreNeverUsed) {
  MemoryStore store;
  const Target target = make_target(InstructionSet::native);
  (void)compile(kernels(), target, 1, &store);
  ASSERT_EQ(store.entries.size(), 1u);
  const auto& [key, entry] = *store.entries.begin();
  ASSERT_TRUE(decode_entry(key, entry));
  for (std::uint32_t seed = 0; seed < 10'000; ++seed) {
    EXPECT_FALSE(decode_entry(key, damaged(entry, seed))) << "seed " << seed;
  }
  std::string other = key;
  other[0] = other[0] == '0' ? '1' : '0';
  EXPECT_FALSE(decode_entry(other, entry));
  // What is found damaged is compiled and replaced.
  store.entries.begin()->second.back() ^= 1;
  const MachineCode code = compile(kernels(), target, 1, &store);
  EXPECT_EQ(code.report.compiled_modules, 1u);
  EXPECT_TRUE(decode_entry(key, store.entries.begin()->second));
  expect_right(code);
}

}  // namespace
}  // namespace gradus::codegen
