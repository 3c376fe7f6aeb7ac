#pragma once

#include <cstdint>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// Bytes of scratch that a worker needs for the kernel, before it is compiled: its own buffers and
/// what its contraction keeps; machine code may add the lanes of a sum.
[[nodiscard]] std::int64_t expected_scratch(const Kernel& kernel);

}  // namespace gradus::codegen
