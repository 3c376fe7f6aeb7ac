#pragma once

// From a fusion group to kernels: stages, tasks, tiles, buffers.

#include <cstdint>
#include <optional>
#include <vector>

#include "codegen/contraction_choice.h"
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

/// How the place of a buffer moves through a larger one, in bytes: where the first iteration of the
/// loop around its kernel finds it, and from one iteration to the next.
struct Slide {
  std::int64_t begin = 0;
  std::int64_t stride = 0;
  friend bool operator==(const Slide&, const Slide&) = default;
};

struct ScheduledKernel {
  Kernel kernel;
  std::vector<Parameter> parameters;       // of the leading buffers of the kernel
  std::int64_t operations = 0;             // floating-point operations of all tasks
  std::vector<Candidate> considered = {};  // for its contraction, if it has one
  std::size_t chosen = 0;                  // number of a candidate
  std::vector<Slide> slides = {};          // in a loop: of every parameter
};

/// Chooses what the model predicts to be the fastest.
[[nodiscard]] inline std::size_t choose_cheapest(std::span<const Candidate> /*all*/) { return 0; }

/// How kernels in the body of a loop cut so many rows: alike, so that a worker need not wait for
/// others. None where there are too few.
[[nodiscard]] std::optional<ir::Cut> rows_in_loop(std::int64_t rows);

/// The kernels of group number `group`, in order; the last one is the group's own. Task cuts depend
/// on shapes only; tile sizes and what `choose` decides also on the target. In the body of a loop
/// of `loop_length` panels of what stays the same are packed once.
[[nodiscard]] std::vector<ScheduledKernel> schedule(const ir::Graph& graph,
                                                    const passes::FusionPlan& plan,
                                                    std::size_t group, const Target& target,
                                                    const Chooser& choose = choose_cheapest,
                                                    std::int64_t loop_length = 1);

}  // namespace gradus::codegen
