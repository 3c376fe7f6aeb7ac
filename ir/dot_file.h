#pragma once

#include <string>

#include "ir/graph.h"

namespace gradus::ir {

/// The inputs and the live part of `graph` in Graphviz's DOT language: a box per node with its op,
/// attributes and type, an edge per operand (numbered where there are several), and the results.
[[nodiscard]] std::string to_dot(const Graph& graph);

}  // namespace gradus::ir
