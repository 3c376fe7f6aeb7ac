#pragma once

#include <functional>
#include <string>

#include "ir/graph.h"

namespace gradus::ir {

/// The inputs and the live part of `graph` in Graphviz's DOT language: a box per node with its op,
/// attributes and type, an edge per operand (numbered where there are several), and the results.
/// The graph inside of a node is a cluster of its own.
/// `colour` may give the name of a node's colour, or an empty string.
[[nodiscard]] std::string to_dot(
    const Graph& graph, const std::function<std::string(const Graph&, NodeId)>& colour = {});

}  // namespace gradus::ir
