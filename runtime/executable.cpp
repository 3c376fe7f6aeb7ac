#include "runtime/executable.h"

namespace gradus::runtime {
namespace {

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

}  // namespace

const StateEntry* StateLayout::find(const std::string& name) const {
  for (const StateEntry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

void StateLayout::add(std::string name, TensorType type, StateKind kind) {
  GRADUS_CHECK(find(name) == nullptr, "two state entries are named " + name);
  const std::int64_t offset = bytes;  // a multiple of the alignment, by the next line
  bytes = aligned(offset + type.byte_size());
  entries.push_back({std::move(name), std::move(type), kind, offset});
}

}  // namespace gradus::runtime
