#pragma once

#include <optional>

#include "ir/scan.h"

namespace gradus::ir {

/// Moves before the loop what is the same in every iteration, and contractions and reductions of
/// slices and invariants, which become one op over the whole stacks (OpRecord::stack); drops
/// operands that the body then no longer needs. Appends to `graph`, that of the operands. This is
/// part of what a scan means (ir/README.md), so it happens when one is built, never afterwards.
[[nodiscard]] Scan hoisted(Graph& graph, Scan scan);

/// The scan without stacked and invariant operands that its body does not use.
[[nodiscard]] Scan without_unused(Scan scan);

/// Whether the op has a stage of its own in kernels, and so costs more than the memory of its
/// result.
[[nodiscard]] bool is_dear(const Node& node);

}  // namespace gradus::ir
