#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

Dataset make(const SpiralsData& parameters, std::int64_t examples, const char* purpose) {
  Tensor points = allocate_tensor({ElementType::f32, {examples, 2}}, "spirals data");
  Tensor labels = allocate_tensor({ElementType::i32, {examples}}, "spirals data");
  RandomStream random(parameters.seed, purpose, 0);
  for (std::int64_t i = 0; i < examples; ++i) {
    const std::int64_t arm = i % parameters.classes;
    const double radius = random.uniform();
    const Rotation direction =
        rotation(parameters.turns * radius +
                 static_cast<double>(arm) / static_cast<double>(parameters.classes));
    float* point = points.as<float>().data() + 2 * i;
    point[0] = static_cast<float>(radius * direction.cosine + parameters.noise * random.normal());
    point[1] = static_cast<float>(radius * direction.sine + parameters.noise * random.normal());
    labels.as<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(arm);
  }
  return {"data source 'spirals'", {{"point", std::move(points)}, {"label", std::move(labels)}}};
}

}  // namespace

DataSplits make_spirals(const SpiralsData& parameters) {
  const auto check = [](const char* name, double value, double low, double high) {
    check_data_parameter("spirals", name, value, low, high);
  };
  check("classes", static_cast<double>(parameters.classes), 2, 1000);
  check("turns", parameters.turns, 0, 100);
  check("noise", parameters.noise, 0, 1e6);
  check("examples", static_cast<double>(parameters.examples), 1, 1e9);
  check("test_examples", static_cast<double>(parameters.test_examples), 0, 1e9);
  return {make(parameters, parameters.examples, "spirals train"),
          make(parameters, parameters.test_examples, "spirals test")};
}

}  // namespace gradus::runtime
