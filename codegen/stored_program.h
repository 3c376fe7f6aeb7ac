#pragma once

// Whole programs between runs: what passes, fusion, schedules and the memory plan have decided is
// found again by the graph that they began with. An entry names the modules that have its code.

#include <optional>
#include <string>

#include "codegen/memory_use.h"

namespace gradus::codegen {

/// A program ready to run, and what that takes.
struct CompiledProgram {
  runtime::Executable executable;
  MemoryUse memory;
  std::size_t modules = 0;  // of machine code
};

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
