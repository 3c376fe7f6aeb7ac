#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "runtime/executable.h"
#include "runtime/memory.h"
#include "runtime/thread_pool.h"

namespace gradus::runtime {

/// How a run ended. With a fault, the steps up to and including `step` have run, and the rest of
/// its chain, of a whole loop in all iterations; the state that they wrote is invalid.
struct RunResult {
  FaultWord fault = 0;  // 0: none
  std::size_t step = 0;
};

/// Runs executables on one thread pool, one arena and one scratch block per worker, which grow to
/// what the largest executable asks for.
class Executor {
 public:
  explicit Executor(std::int64_t workers) : pool_(workers) {}

  [[nodiscard]] std::int64_t workers() const { return pool_.workers(); }

  /// Runs the steps in order, each over its tasks on all workers, and those of a chain unit by
  /// unit, in all iterations of a loop that allows it; a step of one task runs on the caller.
  /// `state` is 64-byte aligned and as long as the layout; `inputs` holds the executable's inputs
  /// by number, each 64-byte aligned and of its type's size. The first faulting step ends the run,
  /// and its fault is that of the lowest task, in a loop of the first iteration that has one: the
  /// same for every number of workers.
  /// `step_seconds`, unless empty, has one number per step, to which its wall time is added: in a
  /// chain its share, by the time that all workers spent in it. Throws UserError E5001 when the
  /// arena cannot be had; InternalError when a reference leaves its block.
  RunResult run(const Executable& executable, std::span<std::byte> state,
                std::span<const std::span<const std::byte>> inputs,
                std::span<double> step_seconds = {});

  /// Copies output number `index` of the last run, which was of this executable and whose state
  /// and inputs are still there.
  [[nodiscard]] Tensor output(const Executable& executable, std::size_t index) const;

 private:
  /// Of the steps of a chain, by parameter.
  using Buffers = std::array<std::vector<std::byte*>, kLongestChain>;

  /// What a worker leaves of the steps of a chain.
  struct alignas(64) WorkerReport {
    std::array<FaultWord, kLongestChain> faults{};
    std::array<std::int64_t, kLongestChain> iterations{};  // of the faults
    std::array<double, kLongestChain> seconds{};
  };

  void prepare(const Executable& executable, std::span<std::byte> state,
               std::span<const std::span<const std::byte>> inputs);
  [[nodiscard]] std::byte* resolve(const BufferReference& reference,
                                   std::int64_t iteration = 0) const;
  [[nodiscard]] RunResult run_chain(const Executable& executable, const Turn& turn, bool timed);
  void add_seconds(const Chain& chain, double seconds, std::span<double> step_seconds);
  void resolve_buffers(std::span<const Step> steps, std::int64_t iteration);
  void run_units(std::span<const Step> steps, const Turn& turn, std::int64_t worker,
                 std::int64_t first, std::int64_t last, bool timed);
  [[nodiscard]] RunResult first_fault(const Chain& chain) const;

  ThreadPool pool_;
  AlignedBytes arena_;
  AlignedBytes scratch_;
  std::int64_t scratch_stride_ = 0;  // bytes from one worker's scratch to the next
  std::vector<WorkerReport> reports_;
  Buffers buffers_;                                 // of the current steps
  std::vector<Buffers> moving_;                     // by worker: of its iteration of them
  std::span<std::byte> state_;                      // of the last run
  std::span<const std::byte> constants_;            // of the last run
  std::vector<std::span<const std::byte>> inputs_;  // of the last run
};

}  // namespace gradus::runtime
