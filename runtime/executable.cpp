#include "runtime/executable.h"

#include <algorithm>

namespace gradus::runtime {
namespace {

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

/// Operations, or elements moved, that take about as long as to call other workers and to await
/// them.
constexpr std::int64_t kLeastSharedWork = 16 * 1024;

}  // namespace

std::int64_t Step::most_workers() const {
  std::int64_t bytes = 0;
  for (const BufferReference& buffer : buffers) bytes += buffer.bytes;
  const std::int64_t moved = bytes / static_cast<std::int64_t>(sizeof(float));
  return std::max(operations, moved) < kLeastSharedWork ? 1 : tasks;
}

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
