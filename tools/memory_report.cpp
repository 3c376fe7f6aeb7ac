#include "tools/memory_report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/diagnostic.h"

namespace gradus::tools {
namespace {

constexpr std::size_t kNamedLayers = 3;

bool fits(const frontend::Model& model, runtime::Program program, std::int64_t batch,
          const codegen::CompileOptions& options, const codegen::MemoryLimit& limit) {
  const BuiltProgram built = build_program(model, program, batch);
  return codegen::plan_within(built.graph, built.layout, options, limit).fits;
}

/// The largest batch below `batch` that fits; 0: none does.
std::int64_t largest_batch(const frontend::Model& model, runtime::Program program,
                           std::int64_t batch, const codegen::CompileOptions& options,
                           const codegen::MemoryLimit& limit) {
  std::int64_t good = 0;
  while (batch - good > 1) {
    const std::int64_t middle = good + (batch - good) / 2;
    (fits(model, program, middle, options, limit) ? good : batch) = middle;
  }
  return good;
}

UserError does_not_fit(const codegen::FittedPlan& fitted, const frontend::Model& model,
                       runtime::Program program, std::int64_t batch,
                       const codegen::CompileOptions& options, const codegen::MemoryLimit& limit) {
  std::string layers;
  const std::vector<codegen::LayerMemory> all = memory_by_layer(fitted.plan);
  for (std::size_t i = 0; i < std::min(all.size(), kNamedLayers); ++i) {
    layers +=
        fmt::format("{}{} ({}) with {}", i == 0 ? "" : ", ", all[i].origin.layer,
                    to_string(all[i].origin.where, all[i].origin.uses), size_text(all[i].bytes));
  }
  std::string hint;
  if (batch > 0) {
    const std::int64_t largest = largest_batch(model, program, batch, options, limit);
    hint = largest > 0 ? fmt::format("the largest batch that fits is {}", largest)
                       : "no batch fits, not even of one example";
  }
  return {"E5002",
          fmt::format("{}{} needs {}, also when it computes again what it can; allowed are {}; "
                      "most is needed by {}",
                      to_string(program), batch > 0 ? fmt::format(" on {} examples", batch) : "",
                      size_text(fitted.use.total()), size_text(limit.bytes), layers),
          {},
          hint};
}

}  // namespace

std::int64_t parse_size(const std::string& text, const std::string& option) {
  const auto fail = [&] {
    return UserError("E2006", fmt::format("{} {} is no size; expected a number of bytes, or of "
                                          "1024 of them with K, or of more with M or G",
                                          option, text));
  };
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::string_view kSuffixes = "KMG";
  int shift = 0;
  if (!suffix.empty()) {
    const std::size_t at = kSuffixes.find(suffix[0]);
    if (suffix.size() > 1 || at == std::string_view::npos) throw fail();
    shift = 10 * static_cast<int>(at + 1);
  }
  if (error != std::errc() || number <= 0) throw fail();
  if (number > std::numeric_limits<std::int64_t>::max() >> shift) throw fail();
  return number << shift;
}

std::string size_text(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB"};
  double size = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; size >= 1024 && unit + 1 < std::size(kUnits); ++unit) size /= 1024;
  return fmt::format("{:.{}f} {}", size, unit == 0 ? 0 : 1, kUnits[unit]);
}

std::string memory_line(const codegen::MemoryUse& use) {
  return fmt::format(
      "memory {}: weights {}, slots {}, activations {} ({} alive at once), scratch {}, data {}",
      size_text(use.total()), size_text(use.weights), size_text(use.slots),
      size_text(use.activations), size_text(use.alive), size_text(use.scratch),
      size_text(use.data));
}

nlohmann::ordered_json memory_json(const codegen::MemoryUse& use) {
  return {{"total", use.total()},   {"weights", use.weights},
          {"slots", use.slots},     {"activations", use.activations},
          {"scratch", use.scratch}, {"data", use.data},
          {"alive", use.alive}};
}

std::int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t all = 0;
  std::int64_t resident = 0;
  file >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

codegen::FittedPlan fitted_plan(const BuiltProgram& built, const frontend::Model& model,
                                runtime::Program program, std::int64_t batch,
                                const codegen::CompileOptions& options,
                                const codegen::MemoryLimit& limit) {
  codegen::FittedPlan fitted = codegen::plan_within(built.graph, built.layout, options, limit);
  if (!fitted.fits) throw does_not_fit(fitted, model, program, batch, options, limit);
  return fitted;
}

}  // namespace gradus::tools
