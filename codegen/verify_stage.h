#pragma once

// The verifier's part that looks at one stage alone. Private to codegen/verify_*.cpp.

#include <string>
#include <vector>

#include "codegen/kernel.h"
#include "codegen/kernel_index.h"

namespace gradus::codegen {

inline constexpr std::int64_t kGreatestExtent = std::int64_t{1} << 40;  // of an axis

/// Thrown inside the verifier at the first broken law; never leaves find_violation.
struct BrokenLaw {
  std::string what;
  int stage = -1;
};
[[noreturn]] void broken(std::string what, int stage = -1);

/// An access that a stage reads; `bounds` of each index where the guards hold.
struct StageRead {
  Access access;
  std::vector<Guard> guards;
  std::vector<IndexBounds> bounds;
  bool factor = false;  // of a contraction: read at other points than those that write
  bool panel = false;   // the access leaves out the dimensions of panels
  /// The guards never hold, or the stage has no point.
  [[nodiscard]] bool never() const { return !bounds.empty() && bounds.front().empty(); }
};
/// An access that a stage writes, at every point of it or when an accumulation is complete.
struct StageWrite {
  Access access;
  bool accumulated = false;
  bool at_end_of_task = false;
};
struct StageAccesses {
  std::vector<StageRead> reads;
  std::vector<StageWrite> writes;
};

/// Checks the stage's own laws; throws BrokenLaw. The kernel's axes, tasks, tile and buffers have
/// been checked.
[[nodiscard]] StageAccesses check_stage(const Kernel& kernel, const Stage& stage);

// What several checks ask.
[[nodiscard]] const Axis& axis_of(const Kernel& kernel, AxisId axis);
[[nodiscard]] const Buffer& buffer_of(const Kernel& kernel, const Access& access);
/// The task axis `axis`; null when it is none.
[[nodiscard]] const TaskAxis* find_task(const Kernel& kernel, AxisId axis);
[[nodiscard]] bool is_tile_axis(const Kernel& kernel, AxisId axis);
/// The axis is a task or tile axis: a stage sees only a range of it.
[[nodiscard]] bool is_cut(const Kernel& kernel, AxisId axis);
/// The access in text, whatever is wrong with it.
[[nodiscard]] std::string spell(const Kernel& kernel, const Access& access);

/// `axis` exists and is no block axis.
void check_ordinary_axis(const Kernel& kernel, AxisId axis, std::string_view what);
void check_cut(const ir::Cut& cut, const Axis& axis);

}  // namespace gradus::codegen
