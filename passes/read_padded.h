#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// A value that a contraction reads with zeros around it is in memory so: everyone else who reads
/// it reads the inside of that. Without this a value would be computed, and what it is made of
/// read, once more for each of its users.
[[nodiscard]] ir::Graph read_padded(const ir::Graph& graph);

}  // namespace gradus::passes
