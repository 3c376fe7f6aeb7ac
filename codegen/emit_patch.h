#pragma once

// Loops that accumulate in patches (patch.h), some vectors of each side by side. Private to the
// emitter.

#include <memory>
#include <optional>
#include <span>

#include "codegen/emit_accumulate.h"
#include "codegen/patch.h"

namespace gradus::codegen {

/// A loop in patches. Its axes, but for the vector axis, are a head, which ends with kept axes, and
/// a tail of accumulated ones.
struct PatchCourse {
  std::vector<AxisId> head;
  std::vector<AxisId> tail;
  PatchShape shape;  // of the last axes of the head, and of the tail
};

/// How `loop` runs in patches; none where that is impossible or of no use.
[[nodiscard]] std::optional<PatchCourse> patch_course(EmitContext& context, const Loop& loop,
                                                      const EffectiveAxes& effective);

/// Emits the loop: the sums of a patch are in registers while its points are accumulated.
void emit_patches(EmitContext& context, const Loop& loop, const PatchCourse& course,
                  VectorAxis vector,
                  std::span<const std::unique_ptr<AccumulateEmitter>> accumulates);

}  // namespace gradus::codegen
