#include <algorithm>

#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

Dataset make(const AddingData& parameters, std::int64_t examples, const char* purpose) {
  const std::int64_t length = parameters.length;
  Tensor x = allocate_tensor({ElementType::f32, {examples, length, 2}}, "adding data");
  Tensor y = allocate_tensor({ElementType::f32, {examples}}, "adding data");
  RandomStream random(parameters.seed, purpose, 0);
  const auto below = [&](std::int64_t limit) {
    return std::min(static_cast<std::int64_t>(random.uniform() * static_cast<double>(limit)),
                    limit - 1);
  };
  for (std::int64_t i = 0; i < examples; ++i) {
    const std::int64_t half = length / 2;
    const std::int64_t first = below(half);
    const std::int64_t second = half + below(length - half);
    float* sequence = x.as<float>().data() + 2 * length * i;
    for (std::int64_t t = 0; t < length; ++t) {
      sequence[2 * t] = static_cast<float>(random.uniform());
      sequence[2 * t + 1] = t == first || t == second ? 1.0f : 0.0f;
    }
    y.as<float>()[static_cast<std::size_t>(i)] = sequence[2 * first] + sequence[2 * second];
  }
  return {"data source 'adding'", {{"sequence", std::move(x)}, {"sum", std::move(y)}}};
}

}  // namespace

DataSplits make_adding(const AddingData& parameters) {
  const auto check = [](const char* name, std::int64_t value, double low, double high) {
    check_data_parameter("adding", name, static_cast<double>(value), low, high);
  };
  check("length", parameters.length, 2, 1e6);
  check("examples", parameters.examples, 1, 1e9);
  check("test_examples", parameters.test_examples, 0, 1e9);
  return {make(parameters, parameters.examples, "adding train"),
          make(parameters, parameters.test_examples, "adding test")};
}

}  // namespace gradus::runtime
