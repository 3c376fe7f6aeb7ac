#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/measured_problem.h"
#include "tools/machine_peak.h"

namespace gradus::bench {

/// A size in bytes and the name of the data cache of that size.
struct Level {
  std::string name;
  std::int64_t bytes = 0;  // of a worker, or of all together
  bool shared = false;
};
[[nodiscard]] std::vector<Level> levels();

[[nodiscard]] codegen::CompileOptions compile_options(int threads);

/// What the machine can do of what a problem needs. Samples are taken in turns with the problem, so
/// that whatever else the machine does slows both.
class Bounds {
 public:
  /// The executor outlives this.
  Bounds(const Problem& problem, const Workload& work, int threads, runtime::Executor& executor);

  /// Forgets all samples.
  void clear();
  /// Takes one sample of each rate.
  void sample();

  // Medians of the samples; 0 where there are none.
  [[nodiscard]] double fma() const;   // operations per second
  [[nodiscard]] double copy() const;  // bytes per second
  [[nodiscard]] double math() const;  // bytes of the problem per second
  /// Scalar operations of the math for each result, but for those of its rows as a whole.
  [[nodiscard]] double operations() const { return operations_; }
  /// Operations per second of the math, of those that fma in registers reaches when each counts
  /// one. More than 1: additions or logic go beside multiplications.
  [[nodiscard]] double issue() const;
  /// The least of what limits the problem.
  [[nodiscard]] double rate() const;

 private:
  Limit limit_;
  std::int64_t footprint_;
  bool in_place_;
  tools::PeakMeter meter_;
  std::vector<std::unique_ptr<MeasuredProblem>> near_;  // the math on data that fit a near cache
  double operations_ = 0;
  double bytes_ = 0;  // of the problem for each of its results
  std::vector<double> fma_;
  std::vector<double> copy_;
  std::vector<double> math_;
};

}  // namespace gradus::bench
