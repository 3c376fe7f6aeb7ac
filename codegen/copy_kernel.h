#pragma once

#include <string>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// A kernel that copies the elements of `type` from its first to its second buffer.
[[nodiscard]] Kernel copy_kernel(const std::string& name, const TensorType& type);

/// Whether `kernel` does nothing but what `copy_kernel` does.
[[nodiscard]] bool is_copy(const Kernel& kernel);

}  // namespace gradus::codegen
