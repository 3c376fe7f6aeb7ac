#pragma once

// Loops whose vector axis is kept, some vectors of it side by side. Private to the emitter.

#include <memory>
#include <span>

#include "codegen/emit_accumulate.h"
#include "codegen/emit_body.h"
#include "codegen/emit_fetch.h"

namespace gradus::codegen {

/// The levels of such a loop's nest.
struct ColumnLevels {
  std::size_t columns = 0;  // outside of this level the vector axis is cut into columns
  std::size_t sums = 0;     // from this level on all axes but the vector axis are accumulated
};

/// Where `loop` runs in columns: all its accumulations are over the same last axes before the
/// vector axis, or it has none and computes something for a position of the vector axis alone.
[[nodiscard]] std::optional<ColumnLevels> column_levels(EmitContext& context, const Loop& loop,
                                                        const EffectiveAxes& effective);

/// Emits the loop, column after column: what depends on the vector axis alone is computed once per
/// column and the state of accumulations is in registers.
void emit_columns(EmitContext& context, const Loop& loop, const EffectiveAxes& effective,
                  const ColumnLevels& levels,
                  std::span<const std::unique_ptr<AccumulateEmitter>> accumulates,
                  const std::vector<Fetch>& fetches, const Unread* unread);

}  // namespace gradus::codegen
