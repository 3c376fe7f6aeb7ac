#pragma once

// Whole programs between runs: what passes, fusion, schedules and the memory plan have decided is
// found again by the graph that they began with. An entry names the modules that have its code.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "codegen/memory_use.h"

namespace gradus::codegen {

/// A program ready to run, and what that takes.
struct CompiledProgram {
  runtime::Executable executable;
  MemoryUse memory;
  std::vector<StageSeconds> seconds;
  std::size_t cached_modules = 0;  // of machine code
  std::size_t compiled_modules = 0;
};

/// The program of `graph`: from the store, if the options name one, or compiled from the plan that
/// `plan` makes for `limit`, and added to the store. Throws what `plan` throws.
[[nodiscard]] CompiledProgram compile_program(const ir::Graph& graph,
                                              const runtime::StateLayout& layout,
                                              const CompileOptions& options,
                                              const MemoryLimit& limit,
                                              const std::function<Plan()>& plan);

/// SHA-256, in hexadecimal digits, of everything that the program compiled from `graph` depends on:
/// the graph with its places, the state's layout, the options and the limit, the processor, LLVM,
/// and the sources of this compiler.
[[nodiscard]] std::string stored_program_key(const ir::Graph& graph,
                                             const runtime::StateLayout& layout,
                                             const CompileOptions& options,
                                             const MemoryLimit& limit);

/// Adds a program to the store. `plan` is the one from which `executable` was compiled.
void store_program(const std::string& key, const Plan& plan, const runtime::Executable& executable,
                   const MemoryUse& memory, const CompileOptions& options);

/// The program of that key; empty where the store has not all of it, whole.
[[nodiscard]] std::optional<CompiledProgram> load_program(const std::string& key,
                                                          const CompileOptions& options);

}  // namespace gradus::codegen
