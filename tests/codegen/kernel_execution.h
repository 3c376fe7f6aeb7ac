#pragma once

// Buffers for kernels, and the execution of compiled ones.

#include <vector>

#include "base/float_environment.h"
#include "base/philox.h"
#include "base/tensor.h"
#include "codegen/jit.h"

namespace gradus::codegen {

/// Multiples of 1/64 in [-2, 2), integers in [-128, 128), truth values.
inline Tensor random_tensor(const TensorType& type, std::uint32_t seed) {
  Tensor tensor(type);
  dispatch(type.element, [&](auto sample) {
    using T = decltype(sample);
    std::uint32_t i = 0;
    for (T& element : tensor.as<T>()) {
      const int random = static_cast<int>(philox4x32({i++, 0, 0, 0}, {seed, 0})[0] % 256);
      if constexpr (std::is_same_v<T, bool>) {
        element = random % 2 == 0;
      } else if constexpr (std::is_floating_point_v<T>) {
        element = static_cast<T>(random - 128) / 64;
      } else {
        element = static_cast<T>(random - 128);
      }
    }
  });
  return tensor;
}

/// One random tensor per parameter of `kernel`.
inline std::vector<Tensor> random_parameters(const Kernel& kernel, std::uint32_t seed) {
  std::vector<Tensor> tensors;
  for (const Buffer& buffer : kernel.buffers) {
    if (buffer.role == BufferRole::scratch) break;
    tensors.push_back(
        random_tensor(buffer.type, 100 * seed + static_cast<std::uint32_t>(tensors.size())));
  }
  return tensors;
}

inline std::vector<std::byte*> addresses(std::vector<Tensor>& tensors) {
  std::vector<std::byte*> pointers;
  for (Tensor& tensor : tensors) pointers.push_back(tensor.bytes.data());
  return pointers;
}

/// Runs all tasks of a compiled kernel, from the last to the first; returns the fault word. Scratch
/// is full of NaNs before each.
inline runtime::FaultWord run_compiled(const CompiledKernel& compiled, std::int64_t tasks,
                                       const std::vector<std::byte*>& buffers) {
  std::vector<std::byte, AlignedAllocator<std::byte>> scratch(
      static_cast<std::size_t>(compiled.scratch_bytes));
  runtime::FaultWord fault = 0;
  const FloatEnvironment environment;
  for (std::int64_t task = tasks; task-- > 0;) {
    std::fill(scratch.begin(), scratch.end(), std::byte{0xff});
    compiled.function(buffers.data(), scratch.data(), task, task + 1, &fault);
  }
  return fault;
}

}  // namespace gradus::codegen
