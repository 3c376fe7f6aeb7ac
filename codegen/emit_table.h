#pragma once

// Numbers of a table of constants, in LLVM IR. Private to the emitter.

#include <cstdint>

#include "codegen/emit_context.h"

namespace gradus::codegen {

/// For each of `lanes` i32 the f32 of table number `table` (ir/scalar_tables.h) that it picks.
[[nodiscard]] llvm::Value* emit_table(EmitContext& context, std::uint64_t table, llvm::Value* index,
                                      int lanes);

}  // namespace gradus::codegen
