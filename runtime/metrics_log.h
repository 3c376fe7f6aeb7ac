#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "runtime/metrics.h"

namespace gradus::runtime {

/// A file with one line of JSON per epoch: {"epoch":1,"step":938,"loss":0.3,…} with the metrics of
/// the validation set, if there is one, under "validation". It holds no times: the same training
/// writes the same bytes, interrupted or not.
class MetricsLog {
 public:
  /// Keeps the lines of epochs 1 to `epochs_done` of an existing file. An empty path writes
  /// nothing. Throws UserError E4003 when the file cannot be written.
  MetricsLog(std::string path, std::int64_t epochs_done);

  void write(std::int64_t epoch, std::int64_t step, const std::vector<MetricValue>& train,
             const std::vector<MetricValue>& validation);

 private:
  std::string path_;
  std::ofstream file_;
};

}  // namespace gradus::runtime
