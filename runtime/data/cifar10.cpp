// CIFAR-10's binary batches: per image one byte of label, then 32 x 32 bytes of each colour.

#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "base/diagnostic.h"
#include "runtime/data/byte_stream.h"
#include "runtime/data/source.h"
#include "runtime/memory.h"

namespace gradus::runtime {
namespace {

constexpr std::int64_t kSide = 32;
constexpr std::int64_t kColours = 3;
constexpr std::int64_t kPlane = kSide * kSide;
constexpr std::int64_t kRecord = 1 + kColours * kPlane;
constexpr int kClasses = 10;
constexpr int kBatches = 5;

struct Records {
  std::vector<std::byte> bytes;
  [[nodiscard]] std::int64_t count() const {
    return static_cast<std::int64_t>(bytes.size()) / kRecord;
  }
};

void append(Records& records, const std::string& path) {
  ByteStream stream(path);
  std::vector<std::byte> record(static_cast<std::size_t>(kRecord));
  while (true) {
    const std::size_t got = stream.read(record);
    if (got == 0) return;
    if (got < record.size()) {
      stream.fail("E1002", fmt::format("the file ends within a record of {} bytes", kRecord));
    }
    if (static_cast<int>(record[0]) >= kClasses) {
      stream.fail("E1002", fmt::format("the record before has label {}, expected 0 to {}",
                                       static_cast<int>(record[0]), kClasses - 1));
    }
    records.bytes.insert(records.bytes.end(), record.begin(), record.end());
  }
}

/// Planes of colours become colours of pixels.
Dataset to_dataset(const Records& records, const std::string& origin) {
  if (records.count() == 0) throw UserError("E1011", "the file has no records", {origin});
  Tensor images =
      allocate_tensor({ElementType::u8, {records.count(), kSide, kSide, kColours}}, "images");
  Tensor labels = allocate_tensor({ElementType::i32, {records.count()}}, "labels");
  for (std::int64_t i = 0; i < records.count(); ++i) {
    const std::byte* record = records.bytes.data() + i * kRecord;
    labels.as<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(record[0]);
    std::byte* image = images.bytes.data() + i * kColours * kPlane;
    for (std::int64_t pixel = 0; pixel < kPlane; ++pixel) {
      for (std::int64_t colour = 0; colour < kColours; ++colour) {
        image[pixel * kColours + colour] = record[1 + colour * kPlane + pixel];
      }
    }
  }
  return {origin, {{"image", std::move(images)}, {"label", std::move(labels)}}};
}

}  // namespace

DataSplits read_cifar10(const Cifar10Data& parameters) {
  Records train;
  std::string first;
  for (int batch = 1; batch <= kBatches; ++batch) {
    const std::string path =
        locate_file(parameters.directory, fmt::format("data_batch_{}.bin", batch));
    if (first.empty()) first = path;
    if (batch > 1 && !std::filesystem::exists(path)) continue;
    append(train, path);
  }
  Records test;
  const std::string test_path = locate_file(parameters.directory, "test_batch.bin");
  append(test, test_path);
  return {to_dataset(train, first), to_dataset(test, test_path)};
}

}  // namespace gradus::runtime
