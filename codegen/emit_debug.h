#pragma once

// Debug information: kernels as functions of the model file. Private to codegen/*.cpp: it includes
// LLVM.

#include <llvm/IR/DIBuilder.h>
#include <llvm/IR/DebugInfoMetadata.h>

#include <string>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// The debug information of one module: a compile unit whose file is that of the first kernel.
class DebugInfo {
 public:
  /// Relative paths start from `directory`.
  DebugInfo(llvm::Module& module, std::string directory);

  /// Makes `function` the kernel's, with its name and the line that it comes from first.
  void add(const Kernel& kernel, llvm::Function& function);
  /// The place of a stage of the kernel added last: of its own provenance, or of the kernel's.
  [[nodiscard]] llvm::DebugLoc place(const std::string& provenance);
  /// When all kernels are there.
  void finish();

 private:
  [[nodiscard]] llvm::DIFile* file(const std::string& path);

  llvm::Module& module_;
  llvm::DIBuilder builder_;
  std::string directory_;
  bool has_unit_ = false;
  llvm::DISubprogram* kernel_ = nullptr;
};

}  // namespace gradus::codegen
