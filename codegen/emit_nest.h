#pragma once

// A nest of loops over the current ranges of some axes, the innermost in vectors. Private to the
// emitter.

#include <functional>
#include <optional>
#include <vector>

#include "codegen/emit_memory.h"

namespace gradus::codegen {

/// Lanes of a vector, for every element type and instruction set: LLVM splits them.
inline constexpr int kVectorLanes = 16;

struct Nest {
  std::vector<AxisId> axes;  // outermost first
  VectorAxis vector = {};    // the innermost axis; one lane: no vectors
  AxisId stepped = -1;       // an axis that moves by `step`, which divides all its ranges' lengths
  std::int64_t step = 1;
  /// Lane l only sees positions congruent to l mod 16, whatever the range.
  bool fixed_lanes = false;
  /// The vector axis stops at this border, which another axis moves.
  std::optional<HalfPlane> half_plane = std::nullopt;
  /// Before and after the loop of axis number `level`; once with level 0 where there are no axes.
  std::function<void(std::size_t level)> enter = {};
  std::function<void(std::size_t level)> leave = {};
  /// At each point, with the lanes that exist (null: all).
  std::function<void(llvm::Value* mask)> point = {};
};

void emit_nest(EmitContext& context, const Nest& nest);

/// `axes` without those that stand still (extent 1 and block axes), and their vector axis.
struct EffectiveAxes {
  std::vector<AxisId> axes;
  VectorAxis vector;
};
[[nodiscard]] EffectiveAxes effective_axes(EmitContext& context, const std::vector<AxisId>& axes);

}  // namespace gradus::codegen
