#pragma once

// Kernels that run as one region without barriers between them.
//
// Most kernels of a training step cut the same axis into tasks: the examples of the batch. Where
// task t of a kernel reads only what task t of the kernel before it wrote, a worker need not wait
// for the others between the two, and what it reads lies in its cache. A *chain* is such a run of
// kernels, cut into `units`: equal shares of the tasks of each of its kernels. A worker runs all
// kernels of the chain for one unit, in order, then for the next one.

#include <optional>
#include <vector>

#include "codegen/schedule.h"
#include "ir/graph.h"
#include "passes/fuse.h"
#include "runtime/executable.h"

namespace gradus::codegen {

/// Finds chains, in ascending order, and puts the kernels of each next to each other: kernels that
/// stand between them run before the chain or after it, wherever what they read and write allows.
/// For any two units of a chain, no element that a kernel writes in one is read or written by any
/// kernel in the other.
[[nodiscard]] std::vector<runtime::Chain> chain_kernels(const ir::Graph& graph,
                                                        const passes::FusionPlan& fusion,
                                                        std::vector<ScheduledKernel>& kernels);

/// The chain of all kernels of a loop that a worker may run in every iteration for one unit,
/// without waiting for others: `chains`, those of one iteration, are this one or the loop is one
/// kernel. No element that a kernel writes in one unit is touched by another unit in any iteration.
/// None where there is no such chain.
[[nodiscard]] std::optional<runtime::Chain> chain_of_iterations(
    const ir::Graph& graph, const passes::FusionPlan& fusion,
    const std::vector<ScheduledKernel>& kernels, const std::vector<runtime::Chain>& chains);

}  // namespace gradus::codegen
