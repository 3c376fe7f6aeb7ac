#pragma once

// Loop stages. Private to the emitter.

#include <deque>
#include <memory>

#include "codegen/emit_accumulate.h"
#include "codegen/emit_body.h"
#include "codegen/emit_columns.h"
#include "codegen/emit_fetch.h"
#include "codegen/emit_patch.h"

namespace gradus::codegen {

/// Emits the stores of a body at the current point.
class StoreEmitter {
 public:
  /// The body's results are numbered from `first_result`.
  StoreEmitter(EmitContext& context, const std::vector<Store>& stores, VectorAxis vector,
               std::int32_t first_result = 0);
  /// Emits the addresses that depend only on axes of `known`.
  void advance(AxisSet known);
  void store(BodyEmitter& body);

 private:
  struct Target {
    Reference reference;
    std::int32_t result = 0;
  };
  std::vector<Target> targets_;
};

class LoopEmitter {
 public:
  LoopEmitter(EmitContext& context, const Loop& loop);

  [[nodiscard]] LoopCourse course() const;
  /// What its points fetch beside their own work.
  void fetch(std::vector<Fetch> fetches) { fetches_ = std::move(fetches); }

  /// Before the first tile of the task, at each tile, and after the last tile.
  void begin_task();
  void emit();
  void end_task();

 private:
  void nest(BodyEmitter& body, std::vector<StoreEmitter>& stores, AxisId group_axis);
  void point(BodyEmitter& body, std::vector<StoreEmitter>& stores, llvm::Value* mask);
  template <typename Action>
  void each_accumulate(const Action& action) {
    for (const auto& copy : accumulates_) {
      for (const auto& accumulate : copy) {
        if (accumulate) action(*accumulate);
      }
    }
  }
  /// Rows that run together: their axis, and the body of all of them.
  struct RowGroup {
    AxisId axis = 0;
    FlatProgram program;
    std::vector<Load> loads;
  };
  [[nodiscard]] std::optional<RowGroup> row_group();
  [[nodiscard]] bool reads_far() const;
  bool emit_groups();
  [[nodiscard]] bool can_group(AxisId axis);
  void add(BodyEmitter& body);
  /// Adds to the sums of a row what is left out of it.
  void add_left_out();

  EmitContext& c_;
  const Loop& loop_;
  EffectiveAxes effective_;
  const Unread* unread_;
  std::optional<ColumnLevels> columns_;
  std::optional<PatchCourse> patches_;
  std::vector<Fetch> fetches_;
  /// By copy of a group of rows, then by accumulation; null where copy 0's serves all.
  std::vector<std::vector<std::unique_ptr<AccumulateEmitter>>> accumulates_;
  std::deque<Accumulate> shifted_;  // the targets of further copies
};

}  // namespace gradus::codegen
