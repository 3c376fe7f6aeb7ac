#pragma once

// Reverse-mode automatic differentiation. With v' the cotangent of v, the chain rule reads
//   x_i' = sum over users y = f(x_1, ...) of vjp_f,i(x, y, y').
// Only nodes on a path from a wanted value to a seed are visited.

#include <optional>
#include <span>
#include <vector>

#include "ir/expr.h"

namespace gradus::ir {

/// A value and its cotangent, of the same type.
struct Seed {
  Expr y;
  Expr dy;
};

/// Appends the cotangents of the wanted values to the graph, given those of the seeds, and returns
/// them; empty where no path leads. The cotangents of a value are added in ascending order of its
/// users, a seed of its own last; those of slices that lie side by side and fill the value are put
/// one after another instead. New nodes have the provenance of the node they differentiate, in
/// the backward role. Knows no op but `pad`, the cotangent of a slice.
[[nodiscard]] std::vector<std::optional<Expr>> cotangents(Graph& graph, std::span<const Seed> seeds,
                                                          std::span<const Expr> wanted);

}  // namespace gradus::ir
