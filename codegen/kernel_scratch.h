#pragma once

#include <cstdint>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// Whether every task has terms to add in each part of k.
[[nodiscard]] bool has_terms(const Kernel& kernel, const Contract& contract);

/// Whether between chunks of k the sums of a contraction rest where its result is going to be: they
/// are stored as they are, a whole vector at a time. It is neither written nor read once more then.
[[nodiscard]] bool rests_in_result(const Kernel& kernel, const Contract& contract);

/// Bytes of scratch that a worker needs for the kernel, before it is compiled: its own buffers and
/// what its contraction keeps; machine code may add the lanes of a sum.
[[nodiscard]] std::int64_t expected_scratch(const Kernel& kernel);

}  // namespace gradus::codegen
