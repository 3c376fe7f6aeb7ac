#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Applies exact rules until nothing changes: each keeps every bit of every result, NaN, signed
/// zeros and flushed subnormals included. (So x * 1 stays unless x was flushed already, x + 0 and
/// x * 0 stay always.) Constant scalars are folded by the interpreter.
[[nodiscard]] ir::Graph simplify(const ir::Graph& graph);

}  // namespace gradus::passes
