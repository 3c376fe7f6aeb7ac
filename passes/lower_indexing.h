#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// An arg_sort becomes what kernels can do with all lanes: how many elements come before each, and
/// every position written where its count says. That takes as many comparisons as the square of the
/// axis's extent. The cumulative sum of a single element is its sum with +0.
[[nodiscard]] ir::Graph lower_indexing(const ir::Graph& graph);

}  // namespace gradus::passes
