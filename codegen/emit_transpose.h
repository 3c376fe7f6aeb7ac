#pragma once

// Loops that read an operand across its rows. Private to the emitter.

#include "codegen/emit_nest.h"

namespace gradus::codegen {

/// Emits `loop` if it reads 32-bit operands that are contiguous along the second innermost of its
/// axes but not along the vector axis: block by block of 16 x 16 such operands are transposed in
/// registers into scratch, and the loop runs over the block reading rows. Returns false, and emits
/// nothing, where there is nothing to transpose.
bool emit_transposing(EmitContext& context, const Loop& loop, const EffectiveAxes& effective);

}  // namespace gradus::codegen
