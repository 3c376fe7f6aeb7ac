#pragma once

// Accumulations of a loop. Where the vector axis is accumulated, 16 lanes (or a chain) are held in
// registers through the innermost loops that are all accumulated, and in scratch beyond them;
// where it is not, the target in memory is the accumulator. Private to the emitter.

#include <vector>

#include "codegen/emit_nest.h"

namespace gradus::codegen {

class AccumulateEmitter {
 public:
  /// `value_type` is the type of the accumulated results.
  AccumulateEmitter(EmitContext& context, const Accumulate& accumulate, ElementType value_type,
                    const EffectiveAxes& loop);

  /// True when the value is complete only at the end of the task.
  [[nodiscard]] bool whole_task() const { return whole_task_; }

  /// True when the sums live in memory between executions of the innermost loop.
  [[nodiscard]] bool in_memory() const { return in_memory_; }
  [[nodiscard]] ElementType value_type() const { return types_[0]; }

  /// Before the first and after the last execution of the loop that accumulates into one value.
  void begin();
  void end();
  /// The hooks of the loop's nest.
  void enter(std::size_t level);
  void leave(std::size_t level);
  void add(llvm::Value* value, llvm::Value* mask);

 private:
  using State = std::vector<llvm::Value*>;  // the value; for arg_max and arg_min its position too
  [[nodiscard]] State identity(int lanes);
  [[nodiscard]] State combine(const State& old, const State& x);
  [[nodiscard]] State choose(llvm::Value* condition, const State& x, const State& y);
  [[nodiscard]] State fold(State lanes);
  [[nodiscard]] State registers();
  void set_registers(const State& state);
  [[nodiscard]] State from_memory(llvm::Value* mask);
  void to_memory(const State& state, llvm::Value* mask);
  [[nodiscard]] llvm::Value* row_major_position();
  void store_result(const State& state);
  void emit_bases();
  void at_first_lane(const std::function<void()>& body);
  void for_each_kept(bool vectors, const std::function<void(llvm::Value* mask)>& point);

  EmitContext& c_;
  const Accumulate& accumulate_;
  EffectiveAxes loop_;
  std::vector<ElementType> types_;  // of the state
  bool argument_ = false;           // arg_max or arg_min
  bool horizontal_ = false;         // the vector axis is accumulated
  bool chain_ = false;              // in order, in one lane
  int lanes_ = 1;                   // of the state
  bool whole_task_ = false;
  bool in_memory_ = false;  // the state outlives the register loops
  std::size_t level_ = 0;   // of the outermost register loop
  std::vector<AxisId> kept_;
  std::vector<Reference> memory_;  // of the state
  std::vector<llvm::AllocaInst*> variables_;
};

}  // namespace gradus::codegen
