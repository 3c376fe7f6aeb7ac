#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Brings scans, inside of whose bodies there are none, into the form that schedules work on: the
/// position becomes slices of a constant, constant tensors become invariants, and every result of a
/// scan that somebody needs becomes a node of its own (`result_of`). Throws InternalError where a
/// body has a scan.
[[nodiscard]] ir::Graph lower_scans(const ir::Graph& graph);

}  // namespace gradus::passes
