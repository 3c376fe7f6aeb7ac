#pragma once

// The slow and obvious meaning of a kernel: what codegen/kernel.h says, element by element.

#include <cstddef>
#include <cstdint>
#include <span>

#include "codegen/kernel.h"
#include "runtime/kernel_abi.h"

namespace gradus::codegen {

/// Runs all tasks of `kernel` in order. `buffers` are its parameters, each of its type's size;
/// `fault` may be null. The position in the fault word is that of the stage's point, row-major over
/// the extents of the stage's axes (of a contraction: batch, m, n). Scratch is full of signalling
/// NaNs and nonsense at the start of each tile. Throws InternalError where an access leaves its
/// buffer.
void interpret(const Kernel& kernel, std::span<std::byte* const> buffers,
               runtime::FaultWord* fault);

/// Runs the given tasks in the given order.
void interpret(const Kernel& kernel, std::span<std::byte* const> buffers, runtime::FaultWord* fault,
               std::span<const std::int64_t> tasks);

}  // namespace gradus::codegen
