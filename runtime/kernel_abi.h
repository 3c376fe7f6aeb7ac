#pragma once

// The binary interface between compiled kernels and whoever runs them. C types only.

#include <cstddef>
#include <cstdint>

namespace gradus::runtime {

/// Raised by a kernel when the step is invalid: bits 56-63 the kind (1 division by zero, 2 index
/// out of range), bits 32-55 the node, bits 0-31 the low part of the element's row-major position.
/// 0: none. A kernel writes it only while it is 0 and goes on harmlessly.
using FaultWord = std::uint64_t;

[[nodiscard]] constexpr std::uint32_t fault_kind(FaultWord word) {
  return static_cast<std::uint32_t>(word >> 56);
}
[[nodiscard]] constexpr std::uint32_t fault_node(FaultWord word) {
  return static_cast<std::uint32_t>(word >> 32) & 0xffffff;
}

/// Runs tasks [first_task, last_task). `buffers` are the kernel's parameters in order, each
/// 64-byte aligned and never read or written past its end; `scratch` is this worker's own block of
/// the size that the kernel asks for, 64-byte aligned. The caller has set flush-to-zero and
/// denormals-are-zero.
using KernelFunction = void (*)(std::byte* const* buffers, std::byte* scratch,
                                std::int64_t first_task, std::int64_t last_task, FaultWord* fault);

inline constexpr std::int64_t kBufferAlignment = 64;

}  // namespace gradus::runtime
