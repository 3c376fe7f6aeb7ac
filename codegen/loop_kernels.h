#pragma once

// Scans as loops of kernels. The body of a scan is planned like a program whose state are its
// carried values: they are updated in place or by copies, as states are. Then its kernels are told
// where the body's values are in the memory of the program around it: slices of operands and of
// stacked results move from iteration to iteration.

#include <cstdint>
#include <vector>

#include "codegen/schedule.h"
#include "ir/graph.h"
#include "passes/fuse.h"

namespace gradus::codegen {

// Parameters of memory that only the kernels of a loop know: `value` is the scan, `copy` a number,
// `panel` one of these.
inline constexpr std::int64_t kLoopValue = -3;    // of one iteration
inline constexpr std::int64_t kLoopCarried = -4;  // lasts for all of them

/// A body with its kernels.
struct BodyPlan {
  const ir::Graph& graph;
  const passes::FusionPlan& fusion;
  std::vector<ScheduledKernel> kernels;
};

struct LoopKernels {
  /// Give the carried values their first content, and make what is the same in every iteration.
  std::vector<ScheduledKernel> before;
  std::vector<ScheduledKernel> first;  // of each iteration, before the body's
  std::vector<ScheduledKernel> body;
  std::vector<ScheduledKernel> last;
};

/// The kernels of node `scan` of `graph`, whose body they come from; names begin with the body's.
[[nodiscard]] LoopKernels loop_kernels(const ir::Graph& graph, ir::NodeId scan, BodyPlan body);

}  // namespace gradus::codegen
