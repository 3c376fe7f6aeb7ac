#pragma once

#include <string>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// A kernel that copies the elements of `type` from its first to its second buffer; in the body of
/// a loop in rows, as the other kernels of the body are.
[[nodiscard]] Kernel copy_kernel(const std::string& name, const TensorType& type,
                                 bool in_loop = false);

/// Whether `kernel` does nothing but what `copy_kernel` does.
[[nodiscard]] bool is_copy(const Kernel& kernel);

}  // namespace gradus::codegen
