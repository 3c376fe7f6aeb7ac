#include <vector>

#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

/// Adds amplitude * sin at every step.
void add_wave(std::vector<double>& values, double frequency, double phase, double amplitude) {
  for (std::size_t t = 0; t < values.size(); ++t) {
    values[t] += amplitude * rotation(frequency * static_cast<double>(t) + phase).sine;
  }
}

Dataset make(const SinesData& parameters, std::int64_t examples, const char* purpose) {
  const std::int64_t length = parameters.length;
  const TensorType type{ElementType::f32, {examples, length}};
  Tensor sequence = allocate_tensor(type, "sines");
  Tensor next = allocate_tensor(type, "sines");
  Tensor label = allocate_tensor({ElementType::i32, {examples}}, "sines");
  RandomStream random(parameters.seed, purpose, 0);
  for (std::int64_t i = 0; i < examples; ++i) {
    const std::int64_t waves = 1 + i % parameters.waves;
    std::vector<double> values(static_cast<std::size_t>(length + 1));
    for (std::int64_t wave = 0; wave < waves; ++wave) {
      const double frequency =
          random.uniform(parameters.least_frequency, parameters.greatest_frequency);
      const double phase = random.uniform();
      add_wave(values, frequency, phase, random.uniform(0.5, 1.5) / static_cast<double>(waves));
    }
    for (double& value : values) value += parameters.noise * random.normal();
    for (std::size_t t = 0; t < static_cast<std::size_t>(length); ++t) {
      const std::size_t at = static_cast<std::size_t>(i * length) + t;
      sequence.as<float>()[at] = static_cast<float>(values[t]);
      next.as<float>()[at] = static_cast<float>(values[t + 1]);
    }
    label.as<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(waves - 1);
  }
  return {
      "data source 'sines'",
      {{"sequence", std::move(sequence)}, {"next", std::move(next)}, {"label", std::move(label)}}};
}

}  // namespace

DataSplits make_sines(const SinesData& parameters) {
  const auto check = [](const char* name, double value, double low, double high) {
    check_data_parameter("sines", name, value, low, high);
  };
  check("waves", static_cast<double>(parameters.waves), 1, 1000);
  check("length", static_cast<double>(parameters.length), 1, 1e6);
  check("least_frequency", parameters.least_frequency, 0, 0.5);
  check("greatest_frequency", parameters.greatest_frequency, parameters.least_frequency, 0.5);
  check("noise", parameters.noise, 0, 1e6);
  check("examples", static_cast<double>(parameters.examples), 1, 1e9);
  check("test_examples", static_cast<double>(parameters.test_examples), 0, 1e9);
  return {make(parameters, parameters.examples, "sines train"),
          make(parameters, parameters.test_examples, "sines test")};
}

}  // namespace gradus::runtime
