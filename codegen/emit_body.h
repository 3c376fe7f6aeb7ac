#pragma once

// The body of a loop or of an epilogue: each instruction at the outermost place that knows what it
// depends on, as a scalar unless it depends on the vector axis. Private to the emitter.

#include <optional>
#include <span>
#include <vector>

#include "codegen/emit_memory.h"
#include "codegen/emit_program.h"

namespace gradus::codegen {

class BodyEmitter {
 public:
  /// `axes` are the loop's, outermost first: they number the elements that faults name. The first
  /// `given` operands are not loads: the caller gives their values.
  BodyEmitter(EmitContext& context, FlatProgram program, std::span<const Load> loads,
              const std::vector<AxisId>& axes, VectorAxis vector, int given = 0);

  /// Whether an operation depends on all of `axes` and on no other axis.
  [[nodiscard]] bool computes_for(AxisSet axes) const;
  /// The condition, the same for all lanes, without which every result is a constant; it is made of
  /// positions only, and nothing can fault.
  [[nodiscard]] std::optional<std::size_t> choice() const;
  /// Emits that condition and nothing else.
  llvm::Value* emit_choice(std::size_t condition);
  /// From here on it holds.
  void assume(std::size_t condition);
  /// Result number `result` where it does not hold, in every lane.
  [[nodiscard]] llvm::Value* otherwise(std::int32_t result);

  /// Value of a given operand: one per lane. Depends on every axis.
  void give(int operand, llvm::Value* value);
  /// Emits all that depends only on axes of `known` and has not been emitted.
  void advance(AxisSet known);
  /// What depends on `axis` must be emitted anew.
  void forget(AxisId axis);
  /// Lanes that exist; null: all.
  void set_mask(llvm::Value* mask) { mask_ = mask; }
  [[nodiscard]] llvm::Value* mask() const { return mask_; }

  /// Result number `result` in every lane, after everything has been emitted.
  [[nodiscard]] llvm::Value* result(std::int32_t result);
  /// The same, emitting what it needs and nothing else.
  [[nodiscard]] llvm::Value* wanted(std::int32_t result);
  /// Gives a reference with a picked dimension its index, the value of an operand.
  void place(Reference& reference);

 private:
  struct Operand {
    Reference reference;
    std::vector<Guard> scalar_guards;  // that hold for all lanes or for none
    std::vector<Guard> lane_guards;
    AxisSet needs = 0;
    AxisSet early = 0;  // axes of the address and the scalar guards
    bool moves = false;
    bool ready = false;
    llvm::Value* guard = nullptr;
    bool picks = false;            // its value is an index of other operands
    llvm::Value* value = nullptr;  // then
  };
  [[nodiscard]] Operand operand_of(const Load& load, AxisSet looped);
  void prepare(Operand& operand);
  llvm::Value* load(Operand& operand);
  llvm::Value* index(const ir::ScalarInstruction& instruction, bool lanes);
  llvm::Value* emit(std::size_t i);
  void emit_arguments(std::size_t i);
  [[nodiscard]] const ir::ScalarInstruction& instruction_of(std::int32_t result) const;
  /// What is next to emit, where that is long and differs from lane to lane by positions alone.
  [[nodiscard]] std::vector<std::size_t> shared_part(AxisSet known) const;
  /// Emits the part as a call.
  void call(std::span<const std::size_t> part);
  void raise(llvm::Value* condition, std::uint64_t kind, std::uint32_t node);
  [[nodiscard]] llvm::Value* lanes_of(std::size_t i);

  EmitContext& c_;
  FlatProgram program_;
  std::vector<AxisId> axes_;
  VectorAxis vector_;
  int given_;
  std::vector<Operand> operands_;
  std::vector<llvm::Value*> given_values_;
  // By instruction:
  std::vector<AxisSet> needs_;
  std::vector<bool> moves_;    // differs from lane to lane
  std::vector<bool> splat_;    // wanted in every lane although it does not move
  std::vector<bool> flushed_;  // a subnormal value is zero to all that use it
  std::vector<llvm::Value*> value_;
  std::vector<llvm::Value*> lanes_;
  llvm::Value* mask_ = nullptr;
};

}  // namespace gradus::codegen
