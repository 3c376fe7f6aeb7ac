#include <fmt/format.h>

#include "base/diagnostic.h"
#include "runtime/data/source.h"
#include "runtime/safetensors.h"

namespace gradus::runtime {
namespace {

void check_extents(const SafetensorsReader& file) {
  if (file.entries().empty()) throw UserError("E1004", "the file holds no array", {file.path()});
  const SafetensorsEntry& first = file.entries().front();
  for (const SafetensorsEntry& entry : file.entries()) {
    if (entry.type.shape.empty()) {
      throw UserError("E1004",
                      fmt::format("array '{}' is a scalar: its leading axis should count the "
                                  "examples",
                                  entry.name),
                      {file.path()});
    }
    if (entry.type.shape[0] == 0) {
      throw UserError("E1011", fmt::format("array '{}' is {}", entry.name, to_string(entry.type)),
                      {file.path()});
    }
    if (entry.type.shape[0] != first.type.shape[0]) {
      throw UserError(
          "E1004",
          fmt::format("array '{}' is {} and array '{}' is {}: all should have the same "
                      "number of examples",
                      first.name, to_string(first.type), entry.name, to_string(entry.type)),
          {file.path()});
    }
  }
}

Dataset read(const std::string& path) {
  const SafetensorsReader file(path);
  check_extents(file);
  Dataset dataset{path, {}};
  for (const SafetensorsEntry& entry : file.entries()) {
    dataset.arrays.push_back({entry.name, file.read(entry)});
  }
  return dataset;
}

}  // namespace

DataSplits read_tensors(const TensorsData& parameters) {
  Dataset test{parameters.test_file, {}};
  if (!parameters.test_file.empty()) test = read(parameters.test_file);
  return {read(parameters.file), std::move(test)};
}

}  // namespace gradus::runtime
