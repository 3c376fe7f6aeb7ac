#include "codegen/kernel_scratch.h"

#include <algorithm>

#include "runtime/executable.h"

namespace gradus::codegen {
namespace {

std::int64_t aligned(std::int64_t bytes) {
  constexpr std::int64_t alignment = runtime::kBufferAlignment;
  return (bytes + alignment - 1) / alignment * alignment;
}

/// Greatest length of an axis's range inside a task of the kernel.
std::int64_t length_in_task(const Kernel& kernel, AxisId axis) {
  for (const TaskAxis& task : kernel.tasks) {
    if (task.axis != axis) continue;
    std::int64_t length = 0;
    for (std::int64_t part = 0; part < task.cut.count; ++part) {
      length = std::max(length, task.cut(part).size());
    }
    return length;
  }
  return kernel.axes[static_cast<std::size_t>(axis)].extent;
}

/// What the emitter keeps in memory for a contraction: sums of a register tile, or of the whole box
/// between chunks and parts, and the copied columns of a tile.
std::int64_t expected_scratch(const Kernel& kernel, const Contract& contract) {
  constexpr std::int64_t kVectorBytes = 64;  // the greatest
  const RegisterTile& tile = contract.tile;
  const std::int64_t columns = kVectorBytes * tile.vectors;
  const auto& lhs = kernel.buffers[static_cast<std::size_t>(contract.lhs.buffer)];
  const auto size = static_cast<std::int64_t>(byte_size(lhs.type.element));
  std::int64_t bytes = columns * tile.lines * tile.rows;
  const bool over_tiles = sums_over_tiles(kernel, contract);
  if (contract.chunk.size > 0 || over_tiles) {
    std::int64_t box = aligned(length_in_task(kernel, contract.n) * size);
    for (AxisId axis : contract.rows) box *= length_in_task(kernel, axis);
    if (over_tiles) {
      for (AxisId axis : contract.batch) box *= length_in_task(kernel, axis);
    }
    bytes = contract.parts.count > 1 ? 2 * box : box;
  }
  if (!contract.copied) return bytes;
  std::int64_t positions = 1;
  for (std::size_t i = 0; i < contract.k.size(); ++i) {
    const auto chunked = static_cast<std::size_t>(contract.chunk.axis);
    if (contract.chunk.size > 0 && i < chunked) continue;
    const std::int64_t whole = length_in_task(kernel, contract.k[i]);
    positions *=
        contract.chunk.size > 0 && i == chunked ? std::min(whole, contract.chunk.size) : whole;
  }
  // It is copied in squares of lanes, for full tiles and for the last one.
  return bytes + positions * columns + 2 * ir::kLanes * ir::kLanes * size;
}

}  // namespace

std::int64_t expected_scratch(const Kernel& kernel) {
  std::int64_t bytes = 0;
  for (const Buffer& buffer : kernel.buffers) {
    if (buffer.role == BufferRole::scratch) bytes += aligned(buffer.type.byte_size());
  }
  for (const Stage& stage : kernel.stages) {
    const auto* contract = std::get_if<Contract>(&stage);
    if (contract != nullptr) bytes += expected_scratch(kernel, *contract);
  }
  return bytes;
}

}  // namespace gradus::codegen
