#pragma once

#include "ir/expr.h"

namespace gradus::passes {

/// No element of x can be subnormal, because arithmetic made it (or it is no float): then x * 1,
/// which flushes, is x. Follows selections, sign changes and movement a few steps back; false where
/// it cannot tell.
[[nodiscard]] bool is_flushed(ir::Expr x);

}  // namespace gradus::passes
