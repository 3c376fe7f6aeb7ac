#pragma once

#include <memory>
#include <string>

#include "bench/problem.h"
#include "codegen/compile.h"
#include "runtime/executor.h"
#include "tools/subject.h"

namespace gradus::bench {

/// A problem compiled as programs of models are, with random inputs.
class MeasuredProblem {
 public:
  /// A run does the work `times` times. `executor` outlives this.
  MeasuredProblem(Workload work, const codegen::CompileOptions& options,
                  runtime::Executor& executor, std::int64_t times = 1);

  [[nodiscard]] const Workload& work() const { return work_; }
  [[nodiscard]] std::int64_t times() const { return times_; }
  /// Vector registers that the machine code of all kernels saves to the stack.
  [[nodiscard]] int vector_spills() const { return spills_; }
  /// Scalar operations of all loops in one time: arithmetic, comparisons, choices, bits, and what
  /// is added to sums.
  [[nodiscard]] std::int64_t operations() const { return operations_; }
  /// Throws InternalError when a kernel faults.
  void run();
  /// Compares elements at the beginning, inside and at the end of every result with those that the
  /// interpreter computes, and says which differ in their bits; empty where none does. Runs the
  /// problem once.
  [[nodiscard]] std::string check();

 private:
  Workload work_;
  std::int64_t times_;
  runtime::Executor& executor_;
  tools::Subject subject_;
  runtime::Executable executable_;
  std::vector<std::span<const std::byte>> inputs_;
  int spills_ = 0;
  std::int64_t operations_ = 0;
};

}  // namespace gradus::bench
