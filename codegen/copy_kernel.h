#pragma once

#include <string>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// A kernel that copies the elements of `type` from its first to its second buffer.
[[nodiscard]] Kernel copy_kernel(const std::string& name, const TensorType& type);

}  // namespace gradus::codegen
