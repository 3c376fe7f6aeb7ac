#pragma once

// The memory of a program's kernels in the arena: what is alive when, and what may be made again.

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "codegen/schedule.h"
#include "ir/graph.h"
#include "passes/fuse.h"
#include "passes/plan_memory.h"
#include "runtime/executable.h"

namespace gradus::codegen {

// Copies that bring a new value to its state when it could not be written in place use the panel
// of their parameters for the way station in the arena, and for the state that is written. Results
// that are the old value of such a state stay in the way station.
inline constexpr std::int64_t kStation = -1;
inline constexpr std::int64_t kUpdatedState = -2;

/// Whether `parameter` lies in the arena.
[[nodiscard]] bool in_arena(const ir::Graph& graph, const passes::FusionPlan& fusion,
                            const Parameter& parameter);

/// Where a result that is no update lies after the last kernel.
[[nodiscard]] Parameter output_memory(const ir::Graph& graph, const ir::Result& result);

/// A buffer of the arena with the kernels, by number, between which it is needed.
struct ArenaBuffer {
  Parameter memory;
  passes::Lifetime lifetime;
};

/// `parameter` as the arena knows it: packed operands are told apart by their contraction.
[[nodiscard]] Parameter arena_key(Parameter parameter);

/// The memory behind `parameter`, in the arena or not: equal for two parameters that are the same
/// bytes.
[[nodiscard]] Parameter memory_key(const ir::Graph& graph, const passes::FusionPlan& fusion,
                                   const Parameter& parameter);

/// The buffers of the arena in the order in which `kernels` first use them. What a chain uses is
/// needed for all of it, what lasts from iteration to iteration for all of its loop, results that
/// are no state to the end.
[[nodiscard]] std::vector<ArenaBuffer> arena_buffers(const ir::Graph& graph,
                                                     const passes::FusionPlan& fusion,
                                                     const std::vector<ScheduledKernel>& kernels,
                                                     std::span<const runtime::Chain> chains = {},
                                                     std::span<const runtime::Loop> loops = {});

/// The kernels with some of them run again, so that the arena needs at most `bytes`, or as little
/// as is found (passes/rematerialise.h). They form no chains. Where there are loops all run once.
[[nodiscard]] std::vector<ScheduledKernel> run_again(const ir::Graph& graph,
                                                     const passes::FusionPlan& fusion,
                                                     const std::vector<ScheduledKernel>& kernels,
                                                     std::int64_t bytes);

}  // namespace gradus::codegen
