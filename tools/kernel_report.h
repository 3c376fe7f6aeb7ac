#pragma once

// What each kernel of a plan does and needs, and how long it should take.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "codegen/compile.h"
#include "runtime/executable.h"
#include "tools/machine_peak.h"

namespace gradus::tools {

/// The work of a kernel, all tasks together.
struct KernelWork {
  double flops = 0;
  double bytes = 0;        // of its parameters, each counted once
  std::int64_t tasks = 1;  // no more workers than these can share it
};

[[nodiscard]] KernelWork work_of(const runtime::Step& step);

/// The least time for that work with `workers` workers whose rates together are `peak` (the
/// roofline model): of computing and of moving its parameters to and from memory, the greater. Data
/// that an earlier kernel left in a cache come faster.
[[nodiscard]] double predicted_seconds(const KernelWork& work, const MachinePeak& peak,
                                       std::int64_t workers);

/// One kernel of a plan.
struct KernelReport {
  const codegen::Kernel* kernel = nullptr;
  std::string symbol;  // of its function
  std::int64_t flops = 0;
  std::int64_t bytes_read = 0;     // of parameters
  std::int64_t bytes_written = 0;  // of parameters
  std::int64_t scratch_bytes = 0;  // per worker
  double predicted_seconds = 0;
  std::vector<codegen::Candidate> considered;  // the cheapest, and what was chosen
  codegen::ContractionChoice chosen;           // where some were considered
  std::vector<std::string> chain;              // names of the kernels of its chain; empty: alone
  std::int64_t units = 0;                      // of the chain
  std::int64_t iterations = 1;                 // of its loop
};

/// The kernels of `plan`, which outlives this, with predictions for one worker of `peak`; unless
/// `only` is empty, those of that name.
[[nodiscard]] std::vector<KernelReport> report_kernels(const codegen::Plan& plan,
                                                       const codegen::Target& target,
                                                       const MachinePeak& peak,
                                                       const std::string& only = "");

/// The report as comments of a kernel's text.
[[nodiscard]] std::string to_comments(const KernelReport& report, const codegen::Target& target);
[[nodiscard]] nlohmann::ordered_json to_json(const KernelReport& report,
                                             const codegen::Target& target);

}  // namespace gradus::tools
