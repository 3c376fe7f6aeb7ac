#pragma once

#include <cstdint>
#include <map>

#include "codegen/target.h"
#include "runtime/executor.h"

namespace gradus::tools {

/// What this machine can do with the workers of an executor, measured.
struct MachinePeak {
  double flops = 0;  // per second: independent chains of f32 fma in registers
  double bytes = 0;  // per second, read and written: copying between arrays far beyond the caches
};

/// One core for comparing kernels on paper, the same on every machine: at 3 GHz it does two fma of
/// the target's f32 vectors in a cycle (without fma one multiplication and one addition), and it
/// moves 10 GB/s to and from memory.
[[nodiscard]] MachinePeak nominal_core(const codegen::Target& target);

/// Measures with kernels compiled for `target`; takes about a fifth of a second.
[[nodiscard]] MachinePeak measure_peak(const codegen::Target& target, runtime::Executor& executor);

/// Samples of what the machine can do right now, each a fraction of a millisecond and longer only
/// where memory is slow: to be taken between other measurements. The executor outlives this.
class PeakMeter {
 public:
  PeakMeter(const codegen::Target& target, runtime::Executor& executor);

  /// Operations per second of independent chains of f32 fma.
  [[nodiscard]] double flops();
  /// Bytes per second, read and written, of copying between arrays of `footprint` bytes together,
  /// which every worker has its part of, or of writing new values in place: then no memory is read
  /// only because it is written. At least 128 bytes per worker.
  [[nodiscard]] double copied(std::int64_t footprint, bool in_place = false);

 private:
  double seconds(const runtime::Executable& executable);

  const codegen::Target target_;
  runtime::Executor& executor_;
  runtime::Executable fma_;
  std::map<std::pair<std::int64_t, bool>, runtime::Executable> copies_;
};

}  // namespace gradus::tools
