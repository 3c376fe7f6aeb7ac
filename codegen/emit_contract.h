#pragma once

// Contractions, register-tiled. Private to the emitter.

#include <optional>

#include "codegen/emit_resting_sums.h"

namespace gradus::codegen {

class ContractStage {
 public:
  ContractStage(EmitContext& context, const Contract& contract);

  /// Before the first tile of the task, at each tile, and after the last tile.
  void begin_task();
  void emit();
  void end_task();

 private:
  EmitContext& c_;
  Contract contract_;
  const Unread* unread_ = nullptr;
  std::optional<RestingSums> sums_;  // that go on from tile to tile
};

}  // namespace gradus::codegen
