#pragma once

#include <string>

namespace gradus::codegen {

/// What debuggers and profilers learn of kernels. It changes no instruction of them.
struct DebugOptions {
  /// Each kernel is a function with its own name, and its stages have the model's file and lines
  /// (DWARF). Identical kernels are one function: it is the first one's.
  bool lines = false;
  bool gdb = false;       // announces linked code through GDB's JIT interface; wants `lines`
  bool perf = false;      // writes linked code to perf's jitdump; wants `lines`
  std::string directory;  // that the relative paths of model files start from

  /// With lines, and announced to whom `gdb` and `perf` say.
  [[nodiscard]] bool announces() const { return gdb || perf; }
};

}  // namespace gradus::codegen
