#pragma once

// What the gradient of a loop reads of the forward loop's iterations instead of computing it again.

#include <cstddef>
#include <map>
#include <optional>

#include "ir/rewrite.h"
#include "ir/scan.h"

namespace gradus::ir {

/// Nodes of the backward body, each with the node of the forward body that it is.
using SavedValues = std::map<NodeId, NodeId>;

/// The dear values of the forward body that depend on what is carried. `moved` tells where the
/// forward body is in the backward one, whose results are there.
[[nodiscard]] SavedValues choose_saved(const Graph& forward, const ScanSignature& signature,
                                       const Graph& backward, const Moved& moved);

/// The number of the body's output that is this node.
[[nodiscard]] std::optional<std::size_t> output_of(const ScanSignature& signature, NodeId id);

}  // namespace gradus::ir
