#pragma once

#include <string>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// Everything about a kernel that its code depends on, as bytes: equal for kernels that differ in
/// names and provenance only.
[[nodiscard]] std::string kernel_identity(const Kernel& kernel);

/// The same of kernels that differ in words only, such as the streams of their random numbers: what
/// can become one function (codegen/emit_alike.h).
[[nodiscard]] std::string kernel_family(const Kernel& kernel);

/// A rough measure of the work to compile a kernel, to spread kernels over threads.
[[nodiscard]] std::int64_t compile_cost(const Kernel& kernel);

}  // namespace gradus::codegen
