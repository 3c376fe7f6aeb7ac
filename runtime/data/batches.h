#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/tensor_type.h"
#include "runtime/data/dataset.h"
#include "runtime/executable.h"
#include "runtime/memory.h"

namespace gradus::runtime {

/// An input of the model: its type without the leading batch axis.
struct ModelInput {
  std::string name;
  TensorType example;
};

/// Checks that `dataset` can feed each input, with the conversions of `BatchReader`: an array of
/// the input's name, a shape that is equal once extents of 1 are dropped or flat on either side
/// with as many elements, and a type that converts. Throws UserError E1009 with every finding.
void check_inputs(const Dataset& dataset, std::span<const ModelInput> inputs);

/// The order in which an epoch visits its examples: 0 … examples - 1, shuffled (Fisher-Yates) by
/// seed and epoch if asked for.
[[nodiscard]] std::vector<std::uint32_t> epoch_order(std::int64_t examples, bool shuffle,
                                                     std::uint64_t seed, std::int64_t epoch);

/// The examples as `batch` streams (0: as many as there are examples) of neighbours, one of each in
/// a batch: example i of a batch follows example i of the batch before. Where the streams are not
/// all as long as the first, the last batch has an example of each of the longer ones.
[[nodiscard]] std::vector<std::uint32_t> contiguous_order(std::int64_t examples,
                                                          std::int64_t batch);

/// Epochs of `examples` cut into batches of `batch` (0: all examples); the last may be smaller.
struct BatchPlan {
  std::int64_t examples = 0;
  std::int64_t batch = 0;

  [[nodiscard]] std::int64_t batches() const;
  [[nodiscard]] std::int64_t first(std::int64_t index) const;  // position in the epoch's order
  [[nodiscard]] std::int64_t size(std::int64_t index) const;
};

/// Copies examples into the buffers that an executable reads. u8 becomes f32 or f64 as x / 255
/// (an image in [0, 1]); every other conversion keeps the value.
class BatchReader {
 public:
  /// `dataset` outlives the reader and has passed `check_inputs`.
  explicit BatchReader(const Dataset& dataset) : dataset_(&dataset) {}

  /// One span per input of `executable`, whose leading extents are rows.size(); row i holds
  /// example rows[i]. The spans are valid until the next call. Throws UserError E1010 naming the
  /// example when an integer does not fit its new type exactly.
  [[nodiscard]] std::span<const std::span<const std::byte>> read(
      const Executable& executable, std::span<const std::uint32_t> rows);

 private:
  const Dataset* dataset_;
  std::vector<AlignedBytes> buffers_;
  std::vector<std::span<const std::byte>> spans_;
};

}  // namespace gradus::runtime
