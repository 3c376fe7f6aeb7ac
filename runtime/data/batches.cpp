#include "runtime/data/batches.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <type_traits>

#include "base/diagnostic.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

constexpr std::int64_t kGreatestExamples = std::numeric_limits<std::uint32_t>::max();

Shape example_shape(const TensorType& array) {
  return {array.shape.begin() + 1, array.shape.end()};
}

Shape without_ones(Shape shape) {
  std::erase(shape, 1);
  return shape;
}

/// Equal but for extents of 1, or one of them flat: the row-major order then means the same.
bool shapes_agree(const Shape& array, const Shape& input) {
  if (element_count(array) != element_count(input)) return false;
  const Shape a = without_ones(array);
  const Shape b = without_ones(input);
  return a == b || a.size() <= 1 || b.size() <= 1;
}

bool converts(ElementType from, ElementType to) {
  if (from == to) return true;
  if (from == ElementType::f64) return false;
  if (from == ElementType::f32) return to == ElementType::f64;
  if (from == ElementType::boolean) return true;
  return to != ElementType::boolean;  // integers to integers and floats
}

std::string offered(const Dataset& dataset) {
  std::string text;
  for (const DataArray& array : dataset.arrays) {
    const TensorType example{array.tensor.type.element, example_shape(array.tensor.type)};
    text += fmt::format("{}'{}' {}", text.empty() ? "" : ", ", array.name, to_string(example));
  }
  return text.empty() ? "none" : text;
}

/// True when `value` has the same value as a To.
template <typename To, typename From>
bool fits(From value) {
  if constexpr (std::is_floating_point_v<From> || std::is_same_v<To, bool>) {
    return true;  // f32 to f64, bool to bool
  } else if constexpr (std::is_floating_point_v<To>) {
    constexpr auto limit = std::int64_t{1} << std::numeric_limits<To>::digits;
    return std::cmp_less_equal(value, limit) && std::cmp_greater_equal(value, -limit);
  } else {
    return std::cmp_less_equal(value, std::numeric_limits<To>::max()) &&
           std::cmp_greater_equal(value, std::numeric_limits<To>::min());
  }
}

/// i / 255 for every byte i: reading is faster than dividing.
template <typename To>
constexpr std::array<To, 256> kShades = [] {
  std::array<To, 256> shades{};
  for (std::size_t i = 0; i < shades.size(); ++i) shades[i] = static_cast<To>(i) / 255;
  return shades;
}();

/// Converts `count` elements; returns whether all fitted.
template <typename From, typename To>
bool convert(const From* from, To* to, std::int64_t count) {
  if constexpr (std::is_same_v<From, std::uint8_t> && std::is_floating_point_v<To>) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = kShades<To>[from[i]];
    return true;
  } else {
    using Value = std::conditional_t<std::is_same_v<From, bool>, std::uint8_t, From>;
    bool all = true;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto value = static_cast<Value>(from[i]);
      all &= fits<To>(value);
      to[i] = static_cast<To>(value);
    }
    return all;
  }
}

/// Copies the rows of `array` into `out` as elements of type `to`; returns the position in `rows`
/// of the first that does not fit, or -1.
std::int64_t gather(const Tensor& array, std::span<const std::uint32_t> rows, ElementType to,
                    std::byte* out) {
  const ElementType from = array.type.element;
  const std::int64_t count = element_count(example_shape(array.type));
  const auto source = [&](std::size_t row) {
    return array.bytes.data() + static_cast<std::int64_t>(rows[row]) * count * byte_size(from);
  };
  if (from == to) {
    const auto bytes = static_cast<std::size_t>(count * byte_size(from));
    for (std::size_t row = 0; row < rows.size(); ++row) {
      std::memcpy(out + row * bytes, source(row), bytes);
    }
    return -1;
  }
  return dispatch(from, [&](auto from_value) {
    return dispatch(to, [&](auto to_value) -> std::int64_t {
      using From = decltype(from_value);
      using To = decltype(to_value);
      auto* target = reinterpret_cast<To*>(out);
      for (std::size_t row = 0; row < rows.size(); ++row, target += count) {
        if (!convert(reinterpret_cast<const From*>(source(row)), target, count)) {
          return static_cast<std::int64_t>(row);
        }
      }
      return -1;
    });
  });
}

std::string mismatch(const Dataset& dataset, const ModelInput& input) {
  const DataArray* array = dataset.find(input.name);
  if (array == nullptr) {
    return fmt::format("no array for the model's input '{}'; offered: {}", input.name,
                       offered(dataset));
  }
  const TensorType example{array->tensor.type.element, example_shape(array->tensor.type)};
  if (!shapes_agree(example.shape, input.example.shape)) {
    return fmt::format("array '{}' has {} per example, but the model's input is {}", input.name,
                       to_string(example), to_string(input.example));
  }
  if (!converts(example.element, input.example.element)) {
    return fmt::format("array '{}' is {}, which does not convert to the model's {}", input.name,
                       to_string(example), to_string(input.example));
  }
  return {};
}

}  // namespace

void check_inputs(const Dataset& dataset, std::span<const ModelInput> inputs) {
  if (dataset.examples() > kGreatestExamples) {
    throw UserError("E1008", fmt::format("{} examples are more than 2^32 - 1", dataset.examples()),
                    {dataset.origin});
  }
  std::vector<Diagnostic> findings;
  for (const ModelInput& input : inputs) {
    if (std::string text = mismatch(dataset, input); !text.empty()) {
      findings.push_back({"E1009", std::move(text), {dataset.origin}, {}});
    }
  }
  if (!findings.empty()) throw UserError(std::move(findings));
}

std::vector<std::uint32_t> epoch_order(std::int64_t examples, bool shuffle, std::uint64_t seed,
                                       std::int64_t epoch) {
  GRADUS_CHECK(examples <= kGreatestExamples, "the data set was not checked");
  std::vector<std::uint32_t> order(static_cast<std::size_t>(examples));
  std::iota(order.begin(), order.end(), 0u);
  if (!shuffle) return order;
  RandomStream random(seed, "shuffle", static_cast<std::uint64_t>(epoch));
  for (auto i = static_cast<std::uint32_t>(order.size()); i > 1; --i) {
    std::swap(order[i - 1], order[random.below(i)]);
  }
  return order;
}

std::vector<std::uint32_t> contiguous_order(std::int64_t examples, std::int64_t batch) {
  GRADUS_CHECK(examples <= kGreatestExamples, "the data set was not checked");
  const std::int64_t streams = batch == 0 ? examples : batch;
  std::vector<std::uint32_t> order;
  order.reserve(static_cast<std::size_t>(examples));
  if (examples == 0) return order;
  const std::int64_t length = examples / streams;
  const std::int64_t longer = examples % streams;  // so many streams have one example more
  for (std::int64_t i = 0; i < length; ++i) {
    for (std::int64_t stream = 0; stream < streams; ++stream) {
      order.push_back(static_cast<std::uint32_t>(stream * length + std::min(stream, longer) + i));
    }
  }
  for (std::int64_t stream = 0; stream < longer; ++stream) {
    order.push_back(static_cast<std::uint32_t>(stream * (length + 1) + length));
  }
  return order;
}

std::int64_t BatchPlan::batches() const {
  if (examples == 0) return 0;
  return batch == 0 ? 1 : (examples + batch - 1) / batch;
}

std::int64_t BatchPlan::first(std::int64_t index) const { return index * batch; }

std::int64_t BatchPlan::size(std::int64_t index) const {
  return batch == 0 ? examples : std::min(batch, examples - first(index));
}

std::span<const std::span<const std::byte>> BatchReader::read(const Executable& executable,
                                                              std::span<const std::uint32_t> rows) {
  buffers_.resize(executable.inputs.size());
  spans_.resize(executable.inputs.size());
  for (std::size_t i = 0; i < executable.inputs.size(); ++i) {
    const ExecutableInput& input = executable.inputs[i];
    const DataArray* array = dataset_->find(input.name);
    GRADUS_CHECK(array != nullptr, "no data for input " + input.name);
    const auto bytes = static_cast<std::size_t>(input.type.byte_size());
    GRADUS_CHECK(!input.type.shape.empty() &&
                     input.type.shape[0] == static_cast<std::int64_t>(rows.size()) &&
                     shapes_agree(example_shape(array->tensor.type), example_shape(input.type)),
                 "input " + input.name + " has another shape");
    if (buffers_[i].size() < bytes) {
      buffers_[i] = {};
      buffers_[i] = allocate(input.type.byte_size(), "a batch");
    }
    const std::int64_t misfit = gather(array->tensor, rows, input.type.element, buffers_[i].data());
    if (misfit >= 0) {
      throw UserError("E1010",
                      fmt::format("example {} of array '{}' has a value that {} cannot hold",
                                  rows[static_cast<std::size_t>(misfit)], input.name,
                                  to_string(input.type.element)),
                      {dataset_->origin});
    }
    spans_[i] = {buffers_[i].data(), bytes};
  }
  return spans_;
}

}  // namespace gradus::runtime
