#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

Dataset make(const LinearData& parameters, std::int64_t examples, const char* purpose) {
  Tensor x = allocate_tensor({ElementType::f32, {examples}}, "linear data");
  Tensor y = allocate_tensor({ElementType::f32, {examples}}, "linear data");
  RandomStream random(parameters.seed, purpose, 0);
  for (std::size_t i = 0; i < static_cast<std::size_t>(examples); ++i) {
    const auto position = static_cast<float>(random.uniform(-1, 1));
    const double exact = parameters.slope * static_cast<double>(position) + parameters.intercept;
    x.as<float>()[i] = position;
    y.as<float>()[i] = static_cast<float>(exact + parameters.noise * random.normal());
  }
  return {"data source 'linear'", {{"x", std::move(x)}, {"y", std::move(y)}}};
}

}  // namespace

DataSplits make_linear(const LinearData& parameters) {
  const auto check = [](const char* name, double value, double low, double high) {
    check_data_parameter("linear", name, value, low, high);
  };
  check("slope", parameters.slope, -1e6, 1e6);
  check("intercept", parameters.intercept, -1e6, 1e6);
  check("noise", parameters.noise, 0, 1e6);
  check("examples", static_cast<double>(parameters.examples), 1, 1e9);
  check("test_examples", static_cast<double>(parameters.test_examples), 0, 1e9);
  return {make(parameters, parameters.examples, "linear train"),
          make(parameters, parameters.test_examples, "linear test")};
}

}  // namespace gradus::runtime
