#pragma once

// Copies between a loop's buffers, such as that of a new value to the carried one, as stores of the
// kernels that have the elements in registers anyway.

#include <vector>

#include "codegen/schedule.h"

namespace gradus::codegen {

/// Leaves out the copying kernels of an iteration whose kernels are `kernels`, in order: where a
/// kernel before stores what is copied, it stores it twice; where one behind it reads all of it,
/// that stores what it has read. Copies that no kernel can take over stay. The nodes of parameters
/// are those of `graph`.
void fold_copies(const ir::Graph& graph, const passes::FusionPlan& fusion,
                 std::vector<ScheduledKernel>& kernels);

}  // namespace gradus::codegen
