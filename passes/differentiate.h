#pragma once

#include <span>
#include <vector>

#include "ir/expr.h"

namespace gradus::passes {

/// Appends the gradients of `loss` (rank 0, f32 or f64) with respect to each value to the graph and
/// returns them, zeros where no path leads. Reverse mode; cotangents of a value are summed in
/// ascending order of its users. New nodes have the provenance of the node they differentiate, in
/// the backward role. Knows no op: applying it to its own result gives higher orders. Throws
/// TypeError when the loss is no float scalar.
[[nodiscard]] std::vector<ir::Expr> gradients(ir::Expr loss,
                                              std::span<const ir::Expr> with_respect_to);

/// Whether a path of differentiable ops leads from each value to `loss`: where none does, the
/// gradient is zeros.
[[nodiscard]] std::vector<bool> reach(ir::Expr loss, std::span<const ir::Expr> values);

}  // namespace gradus::passes
