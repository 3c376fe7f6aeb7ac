#pragma once

// The measured choice of schedules: candidates are compiled and timed, and the fastest is
// remembered for the next run.

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "codegen/code_cache.h"
#include "codegen/schedule.h"

namespace gradus::codegen {

/// Chooses among the candidates of the contractions of a program.
class Tuner {
 public:
  /// The kernels of one group, scheduled with a candidate.
  using Schedule = std::function<std::vector<ScheduledKernel>(std::size_t candidate)>;

  virtual ~Tuner() = default;
  /// The number of a candidate. `first` are the group's kernels with candidate 0.
  [[nodiscard]] virtual std::size_t choose(const std::vector<ScheduledKernel>& first,
                                           const Schedule& schedule, const Target& target) = 0;
};

/// Seconds that each of several schedules of the same work takes on this machine, by one worker:
/// the median of interleaved runs on memory of their own.
[[nodiscard]] std::vector<double> measure_schedules(
    std::span<const std::vector<ScheduledKernel>> schedules, const Target& target, int threads);

class MeasuringTuner : public Tuner {
 public:
  /// Seconds of each schedule.
  using Timer = std::function<std::vector<double>(std::span<const std::vector<ScheduledKernel>>,
                                                  const Target& target)>;

  /// `store` keeps choices between runs; it may be null.
  MeasuringTuner(CodeStore* store, Timer timer) : store_(store), timer_(std::move(timer)) {}

  /// Candidate 0 where this machine cannot run code for the target.
  [[nodiscard]] std::size_t choose(const std::vector<ScheduledKernel>& first,
                                   const Schedule& schedule, const Target& target) override;

  /// Distinct contractions that were timed, and those whose choice an earlier run had stored.
  [[nodiscard]] std::int64_t measured() const { return measured_; }
  [[nodiscard]] std::int64_t remembered() const { return remembered_; }

 private:
  [[nodiscard]] std::size_t measure(const std::vector<Candidate>& considered,
                                    const Schedule& schedule, const Target& target) const;

  CodeStore* store_;
  Timer timer_;
  std::map<std::string, std::size_t> known_;  // by key
  std::int64_t measured_ = 0;
  std::int64_t remembered_ = 0;
};

}  // namespace gradus::codegen
