#pragma once

// From a fusion group to kernels: stages, tasks, tiles, buffers.

#include <cstdint>
#include <vector>

#include "codegen/kernel.h"
#include "codegen/target.h"
#include "ir/graph.h"
#include "passes/fuse.h"

namespace gradus::codegen {

/// What a kernel parameter holds: the memory of `value` (an input, a tensor constant, or a root;
/// never a view), or with `panel` > 0 the packed copy of a contraction's right operand that a
/// kernel of the same group makes.
struct Parameter {
  ir::NodeId value = 0;
  std::int64_t panel = 0;
  ir::NodeId packed_for = 0;  // the contraction
  std::int64_t copy = 0;      // > 0: made again by a later run of its kernel
  friend auto operator<=>(const Parameter&, const Parameter&) = default;
};

struct ScheduledKernel {
  Kernel kernel;
  std::vector<Parameter> parameters;  // of the leading buffers of the kernel
  std::int64_t operations = 0;        // floating-point operations of all tasks
};

/// The kernels of group number `group`, in order. Task cuts depend on shapes only; tile sizes and
/// register tiles also on the target.
[[nodiscard]] std::vector<ScheduledKernel> schedule(const ir::Graph& graph,
                                                    const passes::FusionPlan& plan,
                                                    std::size_t group, const Target& target);

}  // namespace gradus::codegen
