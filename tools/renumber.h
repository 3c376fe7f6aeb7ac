#pragma once

#include <string>

#include "ir/graph.h"

namespace gradus::tools {

/// The text of `after` with the numbers that nodes have in `before`: for equal nodes, and for those
/// that play the same part, reached from the same results by way of the same operands. Others get
/// numbers that `before` has not. Still the text of the same graph; line by line it differs from
/// that of `before` only where something changed.
[[nodiscard]] std::string renumbered(const ir::Graph& before, const ir::Graph& after);

}  // namespace gradus::tools
