#pragma once

// LLVM IR to machine code. Private to codegen/*.cpp: it includes LLVM.

#include <llvm/IR/Module.h>
#include <llvm/Target/TargetMachine.h>

#include <memory>
#include <string>

#include "codegen/jit.h"

namespace gradus::codegen {

/// LLVM's machine for `target`. Floats are never contracted.
[[nodiscard]] std::unique_ptr<llvm::TargetMachine> target_machine(const Target& target);

/// `module`, which is changed on the way, as text or as the bytes of an object file.
[[nodiscard]] std::string machine_code(llvm::Module& module, llvm::TargetMachine& machine,
                                       CodeForm form);

}  // namespace gradus::codegen
