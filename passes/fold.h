#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Replaces what depends on constants only by its value, which the interpreter gives. Results stay
/// as small as what they come from: a broadcast constant is not written out. A node that would
/// raise a fault stays, and raises it in the step.
[[nodiscard]] ir::Graph fold(const ir::Graph& graph);

}  // namespace gradus::passes
