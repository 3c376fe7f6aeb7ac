#include "runtime/data/dataset.h"

#include <fmt/format.h>

#include "base/diagnostic.h"
#include "runtime/memory.h"

namespace gradus::runtime {
namespace {

Tensor rows(const Tensor& tensor, std::int64_t first, std::int64_t last) {
  TensorType type = tensor.type;
  const std::int64_t row_bytes = type.byte_size() / type.shape[0];
  type.shape[0] = last - first;
  Tensor part = allocate_tensor(std::move(type), "validation data");
  std::memcpy(part.bytes.data(), tensor.bytes.data() + first * row_bytes, part.bytes.size());
  return part;
}

}  // namespace

std::int64_t Dataset::examples() const {
  return arrays.empty() ? 0 : arrays.front().tensor.type.shape.at(0);
}

const DataArray* Dataset::find(const std::string& name) const {
  for (const DataArray& array : arrays) {
    if (array.name == name) return &array;
  }
  return nullptr;
}

std::pair<Dataset, Dataset> split_validation(Dataset dataset, double fraction) {
  const std::int64_t examples = dataset.examples();
  const bool valid = fraction >= 0 && fraction < 1;
  const auto count =
      valid ? static_cast<std::int64_t>(fraction * static_cast<double>(examples) + 0.5) : 0;
  if (!valid || (count > 0 && count == examples)) {
    throw UserError("E1008",
                    fmt::format("{}: a validation share of {} leaves no example of {} to train on",
                                dataset.origin, fraction, examples));
  }
  Dataset validation{dataset.origin, {}};
  if (count == 0) return {std::move(dataset), std::move(validation)};
  for (DataArray& array : dataset.arrays) {
    validation.arrays.push_back({array.name, rows(array.tensor, examples - count, examples)});
    Tensor& tensor = array.tensor;  // rows are contiguous: the rest is a prefix
    const std::int64_t row_bytes = tensor.type.byte_size() / examples;
    tensor.type.shape[0] = examples - count;
    tensor.bytes.resize(static_cast<std::size_t>((examples - count) * row_bytes));
  }
  return {std::move(dataset), std::move(validation)};
}

}  // namespace gradus::runtime
