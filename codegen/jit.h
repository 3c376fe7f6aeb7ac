#pragma once

// Kernels to machine code. Each distinct kernel is compiled once; kernels are spread over one
// LLVM module per thread and compiled in parallel.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codegen/code_cache.h"
#include "codegen/debug_options.h"
#include "codegen/kernel.h"
#include "codegen/target.h"
#include "runtime/kernel_abi.h"

namespace gradus::codegen {

struct CompiledKernel {
  runtime::KernelFunction function = nullptr;
  std::string symbol;
  std::int64_t scratch_bytes = 0;  // per worker
};

struct CompileReport {
  std::size_t distinct_kernels = 0;
  std::size_t cached_modules = 0;    // taken from the store
  std::size_t compiled_modules = 0;  // not found there
  double emit_seconds = 0;           // kernel IR to LLVM IR, all threads together
  double machine_seconds = 0;        // LLVM IR to object code, all threads together
  double link_seconds = 0;           // object code to addresses, all threads together
  double seconds = 0;                // by the clock
};

struct MachineCode {
  std::vector<CompiledKernel> kernels;  // one per kernel given
  std::shared_ptr<const void> code;     // keeps the functions alive
  std::vector<std::string> modules;     // their keys in the store; none without one
  CompileReport report;
};

/// Compiles for `target`, which the host must be able to run, on up to `threads` threads. Modules
/// that are in `store`, if there is one, are not compiled; the others are added. Throws
/// InternalError where LLVM refuses the code.
[[nodiscard]] MachineCode compile(std::span<const Kernel> kernels, const Target& target,
                                  int threads, CodeStore* store = nullptr,
                                  const DebugOptions& debug = {});

struct StoredFunctions {
  std::vector<runtime::KernelFunction> functions;  // one per symbol
  std::shared_ptr<const void> code;                // keeps them alive
};

/// The functions of those names, from the modules of those keys. Empty where the store has not all
/// of the modules, whole, or they not all of the functions.
[[nodiscard]] std::optional<StoredFunctions> stored_functions(std::span<const std::string> modules,
                                                              std::span<const std::string> symbols,
                                                              CodeStore& store,
                                                              const DebugOptions& debug = {});

/// Names of the kernels' functions: functions of the kernels' contents and order alone; identical
/// kernels share theirs.
[[nodiscard]] std::vector<std::string> kernel_symbols(std::span<const Kernel> kernels);

enum class CodeForm : std::uint8_t { llvm_ir, assembly, object };

struct GeneratedCode {
  std::string code;                         // text, or the bytes of an object file
  std::vector<std::string> symbols;         // per kernel given, as kernel_symbols says
  std::vector<std::int64_t> scratch_bytes;  // per kernel given and worker
};

/// All distinct kernels in one module, for any target.
[[nodiscard]] GeneratedCode generate_code(std::span<const Kernel> kernels, const Target& target,
                                          CodeForm form, const DebugOptions& debug = {});

}  // namespace gradus::codegen
