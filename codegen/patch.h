#pragma once

// Patches: neighbouring points of a loop that are computed together, since they read the same
// elements. A window reads most of what the next window reads, and all windows read the same
// weights; a patch of windows reads each element once.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "codegen/emit_program.h"
#include "codegen/kernel.h"

namespace gradus::codegen {

/// An axis of a loop: the lengths of its ranges, and whether these are always all its positions.
struct PatchAxis {
  AxisId axis = 0;
  std::vector<std::int64_t> lengths;
  bool whole = false;
};

/// How many neighbouring positions of each axis a patch spans: of the last axes all, of the one
/// before them some, of the others one.
struct PatchShape {
  std::vector<std::int64_t> kept;
  std::vector<std::int64_t> reduced;
};

/// What limits a patch: sums in registers at a time, and points.
struct PatchLimits {
  std::int64_t sums = 1;
  std::int64_t points = 1;
};

/// The shape of patches with the fewest loads for a point of `loop`, which accumulates over
/// `reduced` and has `kept` axes before its vector axis; none where points share too little.
[[nodiscard]] std::optional<PatchShape> choose_patch(const Loop& loop,
                                                     std::span<const PatchAxis> kept,
                                                     std::span<const PatchAxis> reduced,
                                                     const PatchLimits& limits);

/// Neighbouring positions of an axis, from its current position on.
struct Span {
  AxisId axis = 0;
  std::int64_t count = 1;
};

/// The bodies of all points of a patch as one: every load once, without the guards that always
/// hold, and the results of one point after those of another, the points row-major over `spans`.
struct PatchBody {
  std::vector<Load> loads;
  FlatProgram program;
};
/// What a patch reads first: no patch that runs shortly before it does. `around` are the axes of
/// the loops around it, outermost first, with the distances from patch to patch.
[[nodiscard]] std::vector<Access> first_reads(const Kernel& kernel, const Loop& loop,
                                              std::span<const Span> spans,
                                              std::span<const Span> around);
[[nodiscard]] PatchBody patch_body(const Loop& loop, const std::vector<Axis>& axes,
                                   std::span<const Span> spans);

}  // namespace gradus::codegen
