#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor.h"
#include "runtime/data/vocabulary.h"

namespace gradus::runtime {

/// One named array of a data set: its leading axis counts the examples.
struct DataArray {
  std::string name;
  Tensor tensor;
};

/// Arrays with equal leading extents. `origin` names where they come from in messages.
struct Dataset {
  std::string origin;
  std::vector<DataArray> arrays;

  /// The common leading extent; 0 without arrays.
  [[nodiscard]] std::int64_t examples() const;
  /// The array of that name, or null.
  [[nodiscard]] const DataArray* find(const std::string& name) const;
};

struct DataSplits {
  Dataset train;
  Dataset test;  // without arrays when the source has none
  Vocabulary vocabulary = {};
};

/// Cuts off the last round(fraction * examples) examples, whatever the order of training: the same
/// examples for every seed. Throws UserError E1008 unless 0 <= fraction < 1 and an example stays.
[[nodiscard]] std::pair<Dataset, Dataset> split_validation(Dataset dataset, double fraction);

}  // namespace gradus::runtime
