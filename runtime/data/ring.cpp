#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

Dataset make(const RingData& parameters, std::int64_t examples, const char* purpose) {
  Tensor points = allocate_tensor({ElementType::f32, {examples, 2}}, "ring data");
  Tensor modes = allocate_tensor({ElementType::i32, {examples}}, "ring data");
  RandomStream random(parameters.seed, purpose, 0);
  for (std::int64_t i = 0; i < examples; ++i) {
    const std::int64_t mode = i % parameters.modes;
    const Rotation direction =
        rotation(static_cast<double>(mode) / static_cast<double>(parameters.modes));
    const auto coordinate = [&](double along) {
      return static_cast<float>(parameters.radius * along + parameters.deviation * random.normal());
    };
    float* point = points.as<float>().data() + 2 * i;
    point[0] = coordinate(direction.cosine);
    point[1] = coordinate(direction.sine);
    modes.as<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(mode);
  }
  return {"data source 'ring'", {{"point", std::move(points)}, {"mode", std::move(modes)}}};
}

}  // namespace

DataSplits make_ring(const RingData& parameters) {
  const auto check = [](const char* name, double value, double low, double high) {
    check_data_parameter("ring", name, value, low, high);
  };
  check("modes", static_cast<double>(parameters.modes), 1, 1000);
  check("radius", parameters.radius, 0, 1e6);
  check("deviation", parameters.deviation, 0, 1e6);
  check("examples", static_cast<double>(parameters.examples), 1, 1e9);
  check("test_examples", static_cast<double>(parameters.test_examples), 0, 1e9);
  return {make(parameters, parameters.examples, "ring train"),
          make(parameters, parameters.test_examples, "ring test")};
}

}  // namespace gradus::runtime
