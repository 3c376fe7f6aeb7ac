#include "codegen/exchange.h"

#include <algorithm>
#include <utility>

#include "codegen/kernel_index.h"

namespace gradus::codegen {
namespace {

constexpr std::int64_t kMostVectors = 8;        // chains enough to hide the latency
constexpr std::int64_t kMostCopiedSteps = 512;  // positions of k in a copy that stays near

std::int64_t extent(const Kernel& kernel, AxisId axis) {
  return kernel.axes[static_cast<std::size_t>(axis)].extent;
}

/// Elements between neighbours along `axis`.
std::int64_t stride(const Kernel& kernel, const Access& access, AxisId axis) {
  const Buffer& buffer = kernel.buffers[static_cast<std::size_t>(access.buffer)];
  return element_stride(access.index, buffer.type.shape, axis);
}

/// Whether neighbours along m are neighbours of the last dimension of lhs.
bool is_in_place(const Kernel& kernel, const Contract& contract) {
  return !contract.lhs.index.empty() &&
         contract.lhs.index.back().terms == std::vector<Term>{{contract.m(), 1}} &&
         stride(kernel, contract.lhs, contract.m()) == 1;
}

/// Whether a task can copy the columns, and loses less by it than by lanes that stand idle: where
/// they are neighbours, or whole squares of lanes are transposed.
bool is_worth_copying(const Kernel& kernel, const Contract& contract) {
  if (sums_over_tiles(kernel, contract)) return false;
  const bool squares =
      extent(kernel, contract.m()) >= ir::kLanes && extent(kernel, contract.k.back()) >= ir::kLanes;
  return squares || stride(kernel, contract.lhs, contract.m()) == 1;
}

/// The pieces of k whose columns a task copies; none where the whole of k is little enough.
Chunk copied_chunk(const Kernel& kernel, const std::vector<AxisId>& k) {
  std::int64_t inner = 1;
  for (std::size_t i = k.size(); i-- > 0;) {
    const std::int64_t length = extent(kernel, k[i]);
    if (inner * length > kMostCopiedSteps) {
      return {static_cast<std::int32_t>(i), std::max<std::int64_t>(1, kMostCopiedSteps / inner)};
    }
    inner *= length;
  }
  return {};
}

}  // namespace

Contract exchange_one_column(const Kernel& kernel, Contract contract, const Target& target) {
  const AxisId m = contract.m();
  if (extent(kernel, contract.n) != 1 || contract.panel != 0 || contract.copied) return contract;
  if (contract.half_plane) return contract;
  if (contract.lhs.buffer < 0) return contract;  // scratch that is no buffer of the kernel yet
  if (contract.rows.size() > 1 && extent(kernel, m) < ir::kLanes) return contract;
  if (!is_in_place(kernel, contract)) {
    if (!is_worth_copying(kernel, contract)) return contract;
    contract.copied = true;
    contract.chunk = copied_chunk(kernel, contract.k);
    if (contract.parts.count > 1 && contract.chunk.size == 0) {
      contract.chunk = {0, extent(kernel, contract.k.front())};
    }
  }
  contract.batch.insert(contract.batch.end(), contract.rows.begin(), contract.rows.end() - 1);
  contract.rows = {std::exchange(contract.n, m)};
  std::swap(contract.lhs, contract.rhs);
  const Buffer& buffer = kernel.buffers[static_cast<std::size_t>(contract.rhs.buffer)];
  const std::int64_t width = target.width(buffer.type.element);
  const std::int64_t vectors = (extent(kernel, m) + width - 1) / width;
  contract.tile = {1,
                   static_cast<std::int32_t>(std::clamp<std::int64_t>(vectors, 1, kMostVectors))};
  contract.order = TileOrder::columns_outer;
  return contract;
}

}  // namespace gradus::codegen
