#include "runtime/metrics_log.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/diagnostic.h"
#include "runtime/file.h"

namespace gradus::runtime {
namespace {

using Json = nlohmann::ordered_json;

/// The leading lines that belong to epochs 1 to `epochs`.
std::string kept_lines(const std::string& path, std::int64_t epochs) {
  std::string kept;
  if (epochs == 0 || !std::filesystem::exists(path)) return kept;
  std::istringstream lines(read_text(path));
  for (std::string line; std::getline(lines, line);) {
    const Json value = Json::parse(line, nullptr, false);
    const bool known = value.is_object() && value.contains("epoch");
    if (!known || !value["epoch"].is_number_integer() || value["epoch"] > epochs) break;
    kept += line + '\n';
  }
  return kept;
}

void add(Json& object, const std::vector<MetricValue>& values) {
  for (const MetricValue& metric : values) object[metric.name] = metric.value;
}

}  // namespace

MetricsLog::MetricsLog(std::string path, std::int64_t epochs_done) : path_(std::move(path)) {
  if (path_.empty()) return;
  const std::string kept = kept_lines(path_, epochs_done);
  file_.open(path_, std::ios::binary | std::ios::trunc);
  file_ << kept << std::flush;
  if (!file_) throw UserError("E4003", "cannot write the file", {path_});
}

void MetricsLog::write(std::int64_t epoch, std::int64_t step, const std::vector<MetricValue>& train,
                       const std::vector<MetricValue>& validation) {
  if (path_.empty()) return;
  Json line = {{"epoch", epoch}, {"step", step}};
  add(line, train);
  if (!validation.empty()) add(line["validation"], validation);
  file_ << line.dump() << '\n' << std::flush;
  if (!file_) throw UserError("E4003", "cannot write the file", {path_});
}

}  // namespace gradus::runtime
