#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <vector>

namespace gradus::bench {

/// Prints a line per problem with the medians of its repetitions, and at the end the geometric
/// means of the shares by group; a problem's label is its group.
class TableReporter : public benchmark::BenchmarkReporter {
 public:
  /// `heading` says what the machine is and can do.
  explicit TableReporter(std::string heading) : heading_(std::move(heading)) {}

  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  std::string heading_;
  std::map<std::string, std::vector<double>> shares_;  // by group
  bool failed_ = false;
};

}  // namespace gradus::bench
