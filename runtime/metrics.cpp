#include "runtime/metrics.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace gradus::runtime {
namespace {

std::optional<std::size_t> find_output(const Executable& executable, const std::string& name) {
  for (std::size_t i = 0; i < executable.outputs.size(); ++i) {
    if (executable.outputs[i].name == name) return i;
  }
  return std::nullopt;
}

}  // namespace

bool has_output(const Executable& executable, const std::string& name) {
  return find_output(executable, name).has_value();
}

double scalar_output(const Executor& executor, const Executable& executable,
                     const std::string& name) {
  const std::optional<std::size_t> index = find_output(executable, name);
  GRADUS_CHECK(index.has_value(), executable.name + " has no output " + name);
  const Tensor tensor = executor.output(executable, *index);
  GRADUS_CHECK(tensor.type.element_count() == 1 && is_float(tensor.type.element),
               name + " is no scalar");
  if (tensor.type.element == ElementType::f64) return tensor.as<double>()[0];
  return static_cast<double>(tensor.as<float>()[0]);
}

MetricSums::MetricSums(std::vector<Metric> metrics)
    : metrics_(std::move(metrics)), sums_(metrics_.size(), 0.0), examples_(metrics_.size()) {}

void MetricSums::add(const Executor& executor, const Executable& executable,
                     std::int64_t examples) {
  for (std::size_t i = 0; i < metrics_.size(); ++i) {
    const std::string& name = metrics_[i].name;
    const std::string counts = name + "/counts";
    if (has_output(executable, counts) && scalar_output(executor, executable, counts) == 0)
      continue;
    sums_[i] += scalar_output(executor, executable, name) * static_cast<double>(examples);
    examples_[i] += examples;
  }
}

std::vector<MetricValue> MetricSums::values() const {
  std::vector<MetricValue> values;
  for (std::size_t i = 0; i < metrics_.size(); ++i) {
    const double mean = examples_[i] == 0 ? 0 : sums_[i] / static_cast<double>(examples_[i]);
    const bool root = metrics_[i].kind == MetricKind::root_of_mean;
    values.push_back({metrics_[i].name, root ? std::sqrt(mean) : mean});
  }
  return values;
}

void MetricSums::restore(std::vector<double> sums, std::vector<std::int64_t> examples) {
  GRADUS_CHECK(sums.size() == metrics_.size() && examples.size() == metrics_.size(),
               "sums of other metrics");
  sums_ = std::move(sums);
  examples_ = std::move(examples);
}

void MetricSums::clear() {
  std::fill(sums_.begin(), sums_.end(), 0.0);
  std::fill(examples_.begin(), examples_.end(), 0);
}

}  // namespace gradus::runtime
