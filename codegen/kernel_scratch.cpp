#include "codegen/kernel_scratch.h"

#include <algorithm>

#include "codegen/kernel_index.h"
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
  if (over_tiles || (contract.chunk.size > 0 && !rests_in_result(kernel, contract))) {
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

/// Whether all ranges of an axis are whole vectors, as long as vectors may be.
bool whole_vectors(const Kernel& kernel, AxisId axis) {
  const auto whole = [](std::int64_t length) { return length % ir::kLanes == 0; };
  const bool tasks = std::ranges::all_of(kernel.tasks, [&](const TaskAxis& task) {
    return task.axis != axis || task.cut.count == 1 || whole(task.cut.unit);
  });
  const bool tiles = !kernel.tile || kernel.tile->axis != axis || whole(kernel.tile->size);
  return tasks && tiles && whole(kernel.axes[static_cast<std::size_t>(axis)].extent);
}

/// Whether results are the sums as they are.
bool stores_sums(const Contract& contract) {
  const ir::ScalarProgram& program = contract.epilogue.program;
  return contract.stores.size() == 1 && contract.epilogue.loads.empty() &&
         program.code.size() == 1 && program.code.front().op == ir::ScalarOp::operand;
}

}  // namespace

bool has_terms(const Kernel& kernel, const Contract& contract) {
  const auto whole = [](const ir::Cut& cut) {
    for (std::int64_t part = 0; part < cut.count; ++part) {
      if (cut(part).size() == 0) return false;
    }
    return true;
  };
  return whole(contract.parts) && std::ranges::all_of(contract.k, [&](AxisId axis) {
           const auto task = std::ranges::find(kernel.tasks, axis, &TaskAxis::axis);
           return kernel.axes[static_cast<std::size_t>(axis)].extent > 0 &&
                  (task == kernel.tasks.end() || whole(task->cut));
         });
}

bool rests_in_result(const Kernel& kernel, const Contract& contract) {
  if (contract.chunk.size == 0 || contract.parts.count > 1) return false;
  if (!has_terms(kernel, contract) || !stores_sums(contract)) return false;
  const auto buffer_of = [&](const Access& access) -> const Buffer& {
    return kernel.buffers[static_cast<std::size_t>(access.buffer)];
  };
  const Access& target = contract.stores.front().target;
  const Buffer& result = buffer_of(target);
  const bool divided =
      std::ranges::any_of(target.index, [](const Affine& index) { return index.divisor != 1; });
  return result.role == BufferRole::output && !target.pick && !divided &&
         result.type.element == buffer_of(contract.lhs).type.element &&
         whole_vectors(kernel, contract.n) &&
         element_stride(target.index, result.type.shape, contract.n) == 1;
}

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
