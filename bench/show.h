#pragma once

#include <string>

#include "bench/problem.h"

namespace gradus::bench {

/// The problem's graph, its kernels or their assembly, as `what` says: "graph", "kernels" or
/// "assembly". Throws ProblemError where it says something else.
[[nodiscard]] std::string shown(const Problem& problem, const std::string& what, int threads);

}  // namespace gradus::bench
