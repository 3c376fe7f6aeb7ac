#include "bench/report.h"

#include <fmt/format.h>

#include <cmath>

namespace gradus::bench {
namespace {

using Run = benchmark::BenchmarkReporter::Run;

double counter(const Run& run, const char* name) {
  const auto found = run.counters.find(name);
  return found == run.counters.end() ? 0 : found->second.value;
}

std::string rate(const Run& run, const char* name) {
  const double value = counter(run, name);
  return value == 0 ? "-" : fmt::format("{:.1f}", 1e-9 * value);
}

}  // namespace

bool TableReporter::ReportContext(const Context&) {
  GetOutputStream()
      << heading_
      << fmt::format("\n{:<76} {:>10} {:>8} {:>7} {:>7} {:>7} {:>7} {:>5} {:>6} {:>6} {:>6}  {}\n",
                     "problem", "us", "GFLOP/s", "fma", "GB/s", "copy", "math", "ops", "issue",
                     "share", "spills", "data in");
  return true;
}

void TableReporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.error_occurred) {
      if (run.repetition_index > 0) continue;
      failed_ = true;
      GetErrorStream() << run.run_name.function_name << ": " << run.error_message << "\n";
    }
    const bool shown =
        run.run_type == Run::RT_Aggregate ? run.aggregate_name == "median" : run.repetitions <= 1;
    if (!shown || run.error_occurred) continue;
    const double share = counter(run, "share");
    const double operations = counter(run, "operations");
    const double issue = counter(run, "issue");
    const std::size_t bar = run.report_label.find('|');
    GetOutputStream() << fmt::format(
        "{:<76} {:>10.2f} {:>8} {:>7} {:>7} {:>7} {:>7} {:>5} {:>6} {:>5.1f}% {:>6.0f}  {}\n",
        run.run_name.function_name, run.GetAdjustedRealTime(), rate(run, "flops"), rate(run, "fma"),
        rate(run, "bytes"), rate(run, "copy"), rate(run, "math"),
        operations == 0 ? "-" : fmt::format("{:.0f}", operations),
        issue == 0 ? "-" : fmt::format("{:.0f}%", 100 * issue), 100 * share, counter(run, "spills"),
        run.report_label.substr(bar + 1));
    GetOutputStream().flush();
    shares_[run.report_label.substr(0, bar)].push_back(share);
  }
}

void TableReporter::Finalize() {
  GetOutputStream() << "\ngeometric means of the shares\n";
  for (const auto& [group, shares] : shares_) {
    double sum = 0;
    for (double share : shares) sum += std::log(share);
    GetOutputStream() << fmt::format("{:<76} {:5.1f}% of {} problems\n", group,
                                     100 * std::exp(sum / static_cast<double>(shares.size())),
                                     shares.size());
  }
}

}  // namespace gradus::bench
