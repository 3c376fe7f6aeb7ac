#pragma once

#include <string>

#include "ir/graph.h"

namespace gradus::ir {

/// Checks every law of ir/graph.h: operands before users and as many as the op takes, types as the
/// op infers them, attributes complete and in order, no two equal nodes, inputs with different
/// names, results in the graph with different names, updates of state of their type. Throws
/// InternalError that names `where`, the node and the law.
void verify(const Graph& graph, const std::string& where);

}  // namespace gradus::ir
