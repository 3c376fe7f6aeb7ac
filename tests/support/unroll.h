#pragma once

#include "ir/graph.h"

namespace gradus::support {

/// `graph` with the iterations of every scan one after another.
[[nodiscard]] ir::Graph unroll(const ir::Graph& graph);

}  // namespace gradus::support
