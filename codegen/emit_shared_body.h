#pragma once

// A part of a body as a function that the kernels of a module share. Private to the emitter.

#include <functional>
#include <span>
#include <vector>

#include "codegen/emit_context.h"
#include "codegen/emit_program.h"

namespace gradus::codegen {

/// Emits a call that computes instructions `part` of `program`, ascending, on `lanes` lanes, and
/// returns the values of `results`, some of them. `outside` gives the value of an instruction that
/// is none of the part and no constant: one element, or one per lane. The function is the one of
/// every such part in the module that differs in nothing but its constants. Nothing of the part may
/// be an operand or an index or able to fault.
[[nodiscard]] std::vector<llvm::Value*> call_shared_body(
    EmitContext& context, const FlatProgram& program, std::span<const std::size_t> part,
    std::span<const std::size_t> results, int lanes,
    const std::function<llvm::Value*(std::size_t)>& outside);

}  // namespace gradus::codegen
