#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/executor.h"

namespace gradus::runtime {

/// How the values of batches make the value of a data set: the mean weighted by examples, or its
/// square root (for a batch value that is a mean of squares).
enum class MetricKind : std::uint8_t { mean, root_of_mean };

/// A scalar float output of `train_step` and `evaluate`.
struct Metric {
  std::string name;
  MetricKind kind = MetricKind::mean;
};

struct MetricValue {
  std::string name;
  double value = 0;
  friend bool operator==(const MetricValue&, const MetricValue&) = default;
};

/// The value of scalar output `name` of the executor's last run, as f64.
[[nodiscard]] double scalar_output(const Executor& executor, const Executable& executable,
                                   const std::string& name);

/// Whether `executable` has an output of that name.
[[nodiscard]] bool has_output(const Executable& executable, const std::string& name);

/// Sums of batch values in f64, in the order of the batches.
class MetricSums {
 public:
  explicit MetricSums(std::vector<Metric> metrics);

  /// Adds the outputs of the last run, each times `examples`; but not one whose output
  /// "<name>/counts" is 0: nothing counted in that batch.
  void add(const Executor& executor, const Executable& executable, std::int64_t examples);
  /// In the order given; 0 before the first batch.
  [[nodiscard]] std::vector<MetricValue> values() const;

  [[nodiscard]] const std::vector<double>& sums() const { return sums_; }
  /// How many examples each sum is of.
  [[nodiscard]] const std::vector<std::int64_t>& examples() const { return examples_; }
  /// Continues from earlier sums, one per metric.
  void restore(std::vector<double> sums, std::vector<std::int64_t> examples);
  void clear();

 private:
  std::vector<Metric> metrics_;
  std::vector<double> sums_;
  std::vector<std::int64_t> examples_;
};

}  // namespace gradus::runtime
