#pragma once

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

}  // namespace gradus::tools
