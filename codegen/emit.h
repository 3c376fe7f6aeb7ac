#pragma once

// Kernel IR to LLVM IR: a mechanical walk. Private to the emitter: it includes LLVM.

#include <string>

#include "codegen/emit_context.h"

namespace gradus::codegen {

/// Adds the function of `kernel` to `module` under the name `symbol`; returns the bytes of scratch
/// that a worker must give it.
std::int64_t emit_kernel(const Kernel& kernel, const Target& target, const std::string& symbol,
                         llvm::Module& module);

}  // namespace gradus::codegen
