#pragma once

// A compiled program as plain data: what to call, on which bytes. Knows nothing of graphs.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.h"
#include "base/tensor_type.h"
#include "runtime/kernel_abi.h"

namespace gradus::runtime {

/// What a state entry is for.
/// What is carried from batch to batch is 0 where a pass over the data begins.
enum class StateKind : std::uint8_t { parameter, slot, statistic, carried, counter };
inline constexpr std::string_view kStateKindNames[] = {"parameter", "slot", "statistic", "carried",
                                                       "counter"};
[[nodiscard]] constexpr std::string_view to_string(StateKind kind) {
  return kStateKindNames[static_cast<std::size_t>(kind)];
}

/// One persistent tensor: "hidden/kernel". Offset in bytes from the start of the state block.
struct StateEntry {
  std::string name;
  TensorType type;
  StateKind kind = StateKind::parameter;
  std::int64_t offset = 0;
  friend bool operator==(const StateEntry&, const StateEntry&) = default;
};

/// The one layout that all programs of a model share.
struct StateLayout {
  std::vector<StateEntry> entries;
  std::int64_t bytes = 0;
  [[nodiscard]] const StateEntry* find(const std::string& name) const;
  /// Appends an entry at the next aligned offset.
  void add(std::string name, TensorType type, StateKind kind);
};

/// Where a buffer lives. `state` and `arena` and `constants` are blocks; `input` is the batch or
/// scalar input number `offset`, whose storage the caller gives to each run.
enum class Space : std::uint8_t { state, arena, constants, input };

struct BufferReference {
  Space space = Space::arena;
  std::int64_t offset = 0;  // bytes; for Space::input the number of the input
  std::int64_t bytes = 0;
  bool written = false;
  // In a loop a slice of the buffer, of `bytes` bytes, that moves from iteration to iteration.
  std::int64_t begin = 0;   // bytes from the start of the buffer to the first iteration's slice
  std::int64_t stride = 0;  // bytes from one iteration's to the next one's; 0: the whole buffer
};

/// One kernel call over all of its tasks.
struct Step {
  std::string name;
  std::string provenance;  // the model lines it comes from
  KernelFunction function = nullptr;
  std::vector<BufferReference> buffers;
  std::int64_t tasks = 1;
  std::int64_t scratch_bytes = 0;  // per worker
  std::int64_t operations = 0;     // floating-point operations of all tasks

  /// How many workers can share the tasks of so many rounds: one where they are less work than to
  /// call another.
  [[nodiscard]] std::int64_t most_workers(std::int64_t rounds = 1) const;
};

/// Bytes before and after the scratch of all workers. A vector load whose lanes a guard leaves out
/// may lie there, and takes hundreds of cycles where no page is.
inline constexpr std::int64_t kScratchMargin = 4096;

/// A chain has at most so many steps.
inline constexpr std::size_t kLongestChain = 8;

/// `count` steps from number `first` on that need no barrier between them: their tasks are cut into
/// `units` equal shares, and a worker runs all of the steps, in order, for one unit after another.
/// What a step touches in one unit, no step of the chain writes in another. Of a `whole_loop`,
/// whose steps the chain has, this holds for all rounds together: a worker runs every round of its
/// units without waiting for others.
struct Chain {
  std::size_t first = 0;
  std::size_t count = 0;
  std::int64_t units = 1;
  bool whole_loop = false;
  friend bool operator==(const Chain&, const Chain&) = default;
};

/// `count` steps from number `first` on, all of which run `length` times, one round after another.
/// A chain lies within a loop or outside of it. Loops do not overlap.
struct Loop {
  std::size_t first = 0;
  std::size_t count = 0;
  std::int64_t length = 1;
  friend bool operator==(const Loop&, const Loop&) = default;
};

struct ExecutableInput {
  std::string name;
  TensorType type;
};
struct ExecutableOutput {
  std::string name;
  TensorType type;
  BufferReference buffer;
};

struct Executable {
  std::string name;
  std::vector<Step> steps;
  std::vector<Chain> chains;            // ascending; a step of none runs alone
  std::vector<Loop> loops;              // ascending
  std::vector<ExecutableInput> inputs;  // batch and scalar inputs by number
  std::vector<ExecutableOutput> outputs;
  std::int64_t arena_bytes = 0;
  std::int64_t scratch_bytes = 0;  // greatest of the steps
  std::vector<std::byte, AlignedAllocator<std::byte>> constants;
  std::shared_ptr<const void> code;  // keeps the machine code alive

  /// Bytes from one worker's scratch to the next one's, which share no page.
  [[nodiscard]] std::int64_t scratch_stride() const;
  /// Bytes of the scratch of all workers.
  [[nodiscard]] std::int64_t all_scratch(std::int64_t workers) const;
};

/// A chain, or a step that is in none, in one iteration of its loop or in several.
struct Turn {
  Chain chain;
  std::int64_t iteration = 0;
  std::int64_t iterations = 1;
};

/// Walks through a run of an executable.
class Turns {
 public:
  explicit Turns(const Executable& executable) : executable_(executable) { find(); }
  [[nodiscard]] bool at_end() const { return turn_.chain.first == executable_.steps.size(); }
  [[nodiscard]] const Turn& operator*() const { return turn_; }
  [[nodiscard]] const Turn* operator->() const { return &turn_; }
  void advance();

 private:
  void find();

  const Executable& executable_;
  Turn turn_;
  std::size_t next_chain_ = 0;  // number of the first that begins at the turn's step or behind it
  std::size_t next_loop_ = 0;   // number of the first that ends behind the turn's step
};

}  // namespace gradus::runtime
