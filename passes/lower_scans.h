#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// Brings the bodies of scans into the form that fusion and schedules work on, as the passes of the
/// pipeline do with every graph: the position becomes slices of a constant, constant tensors become
/// invariants, scans inside of bodies are unrolled. Every result of a scan that somebody needs
/// becomes a node of its own (`result_of`).
[[nodiscard]] ir::Graph lower_scans(const ir::Graph& graph);

}  // namespace gradus::passes
