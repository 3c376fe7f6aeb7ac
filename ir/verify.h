#pragma once

#include <string>

#include "ir/graph.h"

namespace gradus::ir {

/// Checks every law of ir/graph.h: operands before users, types as the op infers them, complete
/// attributes, no two equal nodes, results in the graph and of their state's type. Throws
/// InternalError that names `where`, the node and the law.
void verify(const Graph& graph, const std::string& where);

}  // namespace gradus::ir
