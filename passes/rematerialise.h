#pragma once

// Recomputation in a plan: a step may run again right before a late use of what it makes, so that
// its result need not be kept in between.

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace gradus::passes {

/// Memory of the arena that one step writes and others read.
struct StepBuffer {
  std::int64_t bytes = 0;
  bool kept = false;       // to the end: a result
  bool transient = false;  // made again whenever the step that reads it is: packed operands
};

/// What memory planning sees of a step. Buffers and states are named by number.
struct MemoryStep {
  std::vector<std::size_t> reads;  // buffers
  std::vector<std::size_t> writes;
  std::vector<std::size_t> state_reads;
  std::vector<std::size_t> state_writes;
  std::int64_t operations = 0;
  bool contraction = false;  // not worth running again unless nothing else helps
};

struct MemoryProgram {
  std::vector<StepBuffer> buffers;
  std::vector<MemoryStep> steps;
};

/// One run of step number `step`. `copies` says which copy of a buffer it reads or writes: 0, and
/// left out, is what the first run of the writing step makes.
struct StepInstance {
  std::size_t step = 0;
  std::map<std::size_t, std::int64_t> copies;
};

/// The steps of `program` with runs added until the buffers alive at one time sum up to at most
/// `bytes`, or to as little as is found. First a minimum cut decides which values are kept across
/// the step at which most is alive, so that all others can be made again without a contraction;
/// then steps run again one by one, those first that take most off the steps above `bytes` for
/// their time. A step that writes a state runs once, and comes after every reader of the old state:
/// it is moved where a later run still reads that.
[[nodiscard]] std::vector<StepInstance> rematerialise(const MemoryProgram& program,
                                                      std::int64_t bytes);

}  // namespace gradus::passes
