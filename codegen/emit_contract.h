#pragma once

// Contractions, register-tiled. Private to the emitter.

#include "codegen/emit_context.h"

namespace gradus::codegen {

void emit_contract(EmitContext& context, const Contract& contract);

}  // namespace gradus::codegen
