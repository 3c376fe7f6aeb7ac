#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Elementwise values of reshaped products, whose users read them through movement only - heads of
/// an attention, say -, are made in the product's own shape and reshaped then: the product's kernel
/// can make them.
[[nodiscard]] ir::Graph sink_reshapes(const ir::Graph& graph);

}  // namespace gradus::passes
