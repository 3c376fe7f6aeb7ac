#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace gradus::passes {

/// The new values of a scan's results; a result that nobody needs may have none.
using ScanValues = std::vector<std::optional<ir::Value>>;

/// Copies the live part of `graph` in order. `replace` gives what takes the place of each scan, in
/// the new graph, on the new operands.
[[nodiscard]] ir::Graph copy_scans(
    const ir::Graph& graph,
    const std::function<ScanValues(ir::Graph& to, ir::NodeId id,
                                   const std::vector<ir::Value>& operands)>& replace);

/// Copies the live part of `graph` in order, where `replace` has another body of the same inputs
/// and results for one of its scans; without one the graph is not copied.
[[nodiscard]] std::optional<ir::Graph> with_bodies(
    const ir::Graph& graph,
    const std::function<std::optional<ir::Graph>(const ir::Graph& body)>& replace);

[[nodiscard]] bool is_scan(const ir::Graph& graph, ir::NodeId id);

}  // namespace gradus::passes
