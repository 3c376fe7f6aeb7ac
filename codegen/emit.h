#pragma once

// Kernel IR to LLVM IR: a mechanical walk. Private to the emitter: it includes LLVM.

#include <string>

#include "codegen/emit_context.h"
#include "codegen/emit_debug.h"

namespace gradus::codegen {

/// Adds the function of `kernel` to `module` under the name `symbol`; returns the bytes of scratch
/// that a worker must give it. With `debug` the function and its stages have their places in it.
/// Throws InternalError where the kernel breaks a law (verify_kernel.h): no code of such a kernel
/// is ever made, or kept in a cache.
std::int64_t emit_kernel(const Kernel& kernel, const Target& target, const std::string& symbol,
                         llvm::Module& module, DebugInfo* debug = nullptr);

}  // namespace gradus::codegen
