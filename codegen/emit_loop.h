#pragma once

// Loop stages. Private to the emitter.

#include <memory>

#include "codegen/emit_accumulate.h"
#include "codegen/emit_body.h"

namespace gradus::codegen {

class LoopEmitter {
 public:
  LoopEmitter(EmitContext& context, const Loop& loop);

  /// Before the first tile of the task, at each tile, and after the last tile.
  void begin_task();
  void emit();
  void end_task();

 private:
  EmitContext& c_;
  const Loop& loop_;
  EffectiveAxes effective_;
  std::vector<std::unique_ptr<AccumulateEmitter>> accumulates_;
};

/// Emits the stores of a body at the current point.
class StoreEmitter {
 public:
  StoreEmitter(EmitContext& context, const std::vector<Store>& stores, VectorAxis vector);
  /// Emits the addresses that depend only on axes of `known`.
  void advance(AxisSet known);
  void store(BodyEmitter& body);

 private:
  const std::vector<Store>& stores_;
  std::vector<Reference> targets_;
};

}  // namespace gradus::codegen
