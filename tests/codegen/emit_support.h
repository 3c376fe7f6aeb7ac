#pragma once

// Hand-built kernels and their execution at every instruction set that this machine has.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "base/float_environment.h"
#include "base/tensor.h"
#include "codegen/interpret_kernel.h"
#include "codegen/jit.h"
#include "codegen/verify_kernel.h"
#include "ir/scalar_program.h"

namespace gradus::codegen {

inline Affine at(AxisId axis, std::int64_t coefficient = 1, std::int64_t offset = 0) {
  return {{{axis, coefficient}}, offset, 1};
}

/// An element of `buffer` with one axis per dimension.
inline Access element(BufferId buffer, const std::vector<AxisId>& axes) {
  Access access{buffer, {}};
  for (AxisId axis : axes) access.index.push_back(at(axis));
  return access;
}

inline Buffer buffer(std::string name, ElementType type, Shape shape, BufferRole role,
                     std::vector<AxisId> local = {}) {
  return {std::move(name), {type, std::move(shape)}, role, std::move(local)};
}

/// The program recorded by `record` from operands of the given types.
inline ir::ScalarProgram program(
    const std::vector<ElementType>& types,
    const std::function<std::vector<ir::Scalar>(ir::ScalarBuilder&, std::vector<ir::Scalar>)>&
        record) {
  ir::ScalarBuilder b(types);
  std::vector<ir::Scalar> operands;
  for (std::size_t i = 0; i < types.size(); ++i) operands.push_back(b.operand(static_cast<int>(i)));
  return b.finish(record(b, operands));
}

/// The program whose one result is its one operand.
inline ir::ScalarProgram copy_program(ElementType type) {
  return program({type}, [](ir::ScalarBuilder&, std::vector<ir::Scalar> x) { return x; });
}

/// Zero tensors for the parameters of a kernel, in order.
inline std::vector<Tensor> parameters(const Kernel& kernel) {
  std::vector<Tensor> result;
  for (const Buffer& b : kernel.buffers) {
    if (b.role != BufferRole::scratch) result.emplace_back(b.type);
  }
  return result;
}

/// Runs tasks [first, last) of a compiled kernel; returns the fault word.
inline runtime::FaultWord run_tasks(const CompiledKernel& compiled, std::vector<Tensor>& tensors,
                                    std::int64_t first, std::int64_t last) {
  std::vector<std::byte*> pointers;
  for (Tensor& tensor : tensors) pointers.push_back(tensor.bytes.data());
  std::vector<std::byte, AlignedAllocator<std::byte>> scratch(
      static_cast<std::size_t>(compiled.scratch_bytes), std::byte{0xff});
  runtime::FaultWord fault = 0;
  const FloatEnvironment environment;
  compiled.function(pointers.data(), scratch.data(), first, last, &fault);
  return fault;
}

inline std::vector<Target> host_targets() {
  std::vector<Target> targets;
  for (InstructionSet set : kInstructionSets) {
    if (host_supports(set)) targets.push_back(make_target(set));
  }
  return targets;
}

/// Equality of tensors to the bit, all NaNs being equal.
inline void expect_same_tensor(const Tensor& actual, const Tensor& expected,
                               const std::string& what) {
  dispatch(actual.type.element, [&](auto sample) {
    using T =
        std::conditional_t<std::is_same_v<decltype(sample), bool>, std::uint8_t, decltype(sample)>;
    for (std::size_t i = 0; i < actual.as<T>().size(); ++i) {
      const T x = actual.as<T>()[i], y = expected.as<T>()[i];
      if (std::memcmp(&x, &y, sizeof(T)) == 0 || (x != x && y != y)) continue;
      ADD_FAILURE() << what << " element " << i << ": " << +x << " instead of " << +y;
      return;
    }
  });
}

/// Compiles `kernel` for every instruction set, runs all tasks on a copy of `tensors` (the last
/// task first), compares with the kernel's interpreter and gives the results to `check`.
inline void run_everywhere(const Kernel& kernel, const std::vector<Tensor>& tensors,
                           const std::function<void(const std::vector<Tensor>&)>& check,
                           runtime::FaultWord* fault = nullptr) {
  verify(kernel);
  std::vector<Tensor> expected = tensors;
  std::vector<std::byte*> pointers;
  for (Tensor& tensor : expected) pointers.push_back(tensor.bytes.data());
  runtime::FaultWord expected_fault = 0;
  interpret(kernel, pointers, &expected_fault);
  for (const Target& target : host_targets()) {
    SCOPED_TRACE(std::string(to_string(target.set)));
    const MachineCode code = compile(std::span(&kernel, 1), target, 1);
    std::vector<Tensor> copy = tensors;
    runtime::FaultWord first_fault = 0;
    for (std::int64_t task = kernel.task_count(); task-- > 0;) {
      const runtime::FaultWord raised = run_tasks(code.kernels[0], copy, task, task + 1);
      if (first_fault == 0) first_fault = raised;
    }
    if (fault != nullptr) *fault = first_fault;
    for (std::size_t i = 0; i < copy.size(); ++i) {
      expect_same_tensor(copy[i], expected[i], "parameter " + std::to_string(i));
    }
    EXPECT_EQ(first_fault >> 32, expected_fault >> 32);
    check(copy);
  }
}

template <typename T>
void expect_same_bits(T actual, T expected, const std::string& what) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(actual) && std::isnan(expected)) return;
  }
  EXPECT_EQ(std::memcmp(&actual, &expected, sizeof(T)), 0)
      << what << ": " << +actual << " instead of " << +expected;
}

inline void fill(Tensor& tensor, std::uint32_t seed, double low = -2, double high = 2) {
  std::mt19937 generator(seed);
  dispatch(tensor.type.element, [&](auto sample) {
    using T = decltype(sample);
    for (T& value : tensor.as<T>()) {
      const double unit = static_cast<double>(generator()) / 4294967296.0;
      value = static_cast<T>(low + (high - low) * unit);
    }
  });
}

}  // namespace gradus::codegen
