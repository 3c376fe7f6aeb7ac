#pragma once

// Accumulations of a loop. Where the vector axis is accumulated, 16 lanes (or a chain) are held in
// registers through the innermost loops that are all accumulated, and in scratch beyond them;
// where it is not, they are held in registers if the loop runs in columns (emit_columns.h), else
// the target in memory is the accumulator. Private to the emitter.

#include <vector>

#include "codegen/emit_nest.h"

namespace gradus::codegen {

class AccumulateEmitter {
 public:
  /// `value_type` is the type of the accumulated results.
  AccumulateEmitter(EmitContext& context, const Accumulate& accumulate, ElementType value_type,
                    const EffectiveAxes& loop, bool columns);

  /// True when the value is complete only at the end of the task.
  [[nodiscard]] bool whole_task() const { return whole_task_; }

  /// True when the sums live in memory between executions of the innermost loop.
  [[nodiscard]] bool in_memory() const { return in_memory_; }
  [[nodiscard]] ElementType value_type() const { return value_type_; }

  /// Before the first and after the last execution of the loop that accumulates into one value.
  void begin();
  void end();
  /// The hooks of the loop's nest.
  void enter(std::size_t level);
  void leave(std::size_t level);
  /// At a point: sums in memory are read, what is added goes to them, they are written.
  void open(llvm::Value* mask);
  void add(llvm::Value* value, llvm::Value* mask);
  void close(llvm::Value* mask);

  /// Adds a constant in some lanes, before a row is complete.
  void add_constant(std::uint64_t word, llvm::Value* lanes);

  /// In columns: the state of one more vector, at its position, comes into registers; its number is
  /// how many have been opened since `clear_columns`. It goes back to memory where it is closed.
  void clear_columns() { columns_.clear(); }
  void open_column(llvm::Value* mask);
  void add_to_column(std::size_t number, llvm::Value* value);
  void close_column(std::size_t number, llvm::Value* mask);

 private:
  // The value; for arg_max and arg_min its position too; by bits their greatest as signed number,
  // their least and their greatest as unsigned number.
  using State = std::vector<llvm::Value*>;
  [[nodiscard]] State identity(int lanes);
  [[nodiscard]] State combine(const State& old, const State& x);
  [[nodiscard]] State choose(llvm::Value* condition, const State& x, const State& y);
  [[nodiscard]] State fold(State lanes);
  [[nodiscard]] State finish(const State& state);
  using Registers = std::vector<llvm::AllocaInst*>;  // of a state
  [[nodiscard]] Registers new_registers();
  [[nodiscard]] State read(const Registers& registers);
  void write(const Registers& registers, const State& state);
  [[nodiscard]] State state_of(llvm::Value* value);
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
  ElementType value_type_;
  std::vector<ElementType> types_;  // of the state
  bool argument_ = false;           // arg_max or arg_min
  bool by_bits_ = false;            // the extremum of floats, as extrema of their bits
  bool horizontal_ = false;         // the vector axis is accumulated
  bool chain_ = false;              // in order, in one lane
  int lanes_ = 1;                   // of the state
  bool whole_task_ = false;
  bool in_columns_ = false;
  bool in_memory_ = false;  // the state outlives the register loops
  std::size_t level_ = 0;   // of the outermost register loop
  std::vector<AxisId> kept_;
  std::vector<Reference> memory_;   // of the state
  Registers registers_;             // where the vector axis is accumulated
  std::vector<Registers> columns_;  // else, in columns
  State opened_;                    // else, at the current point
};

}  // namespace gradus::codegen
