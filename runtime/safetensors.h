#pragma once

// The safetensors format: 8 bytes length of the header (little-endian), the header as JSON
// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …} with an optional
// "__metadata__" of strings, then the data, which the offsets tile without gap or overlap.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "runtime/file.h"

namespace gradus::runtime {

struct SafetensorsEntry {
  std::string name;
  TensorType type;
  std::int64_t offset = 0;  // of its first byte in the file
};

/// A safetensors file whose header has been checked in full.
class SafetensorsReader {
 public:
  /// Throws UserError E1001 naming file and byte when the file breaks the format in any way, E1002
  /// when it holds an element type that Gradus does not have, and as InputFile does.
  explicit SafetensorsReader(const std::string& path);

  [[nodiscard]] const std::string& path() const { return file_.path(); }
  /// In the order of their data.
  [[nodiscard]] const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  [[nodiscard]] const SafetensorsEntry* find(const std::string& name) const;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// Reads the elements into `bytes`, of exactly the entry's size. Throws UserError E1001 when a
  /// boolean is neither 0 nor 1.
  void read(const SafetensorsEntry& entry, std::span<std::byte> bytes) const;
  [[nodiscard]] Tensor read(const SafetensorsEntry& entry) const;

 private:
  InputFile file_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// A named tensor to be written.
struct SafetensorsItem {
  std::string name;
  TensorType type;
  std::span<const std::byte> bytes;
};

/// Writes through OutputFile. The bytes of the file follow from names, types, elements and
/// metadata alone: wider elements first, then by name; every NaN as the canonical quiet NaN.
void write_safetensors(const std::string& path, std::vector<SafetensorsItem> items,
                       const std::map<std::string, std::string>& metadata);

}  // namespace gradus::runtime
