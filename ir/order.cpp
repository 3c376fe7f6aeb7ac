#include "ir/order.h"

#include <algorithm>

#include "ir/attributes.h"

namespace gradus::ir {
namespace {

constexpr std::int64_t kMaximumBlocks = 64;
constexpr std::int64_t kBlockPositions = 32;  // fewest positions of the leading reduced axes
constexpr std::int64_t kInnermostBlock =
    16'384;  // fewest elements of a block of the innermost axis
constexpr std::int64_t kMaximumParts = 16;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

Range Cut::operator()(std::int64_t part) const {
  const std::int64_t units = ceil_div(extent, unit);
  return {std::min(extent, part * units / count * unit),
          std::min(extent, (part + 1) * units / count * unit)};
}

SumOrder sum_order(const Shape& operand, std::span<const std::int64_t> axes) {
  SumOrder order;
  const std::int64_t innermost = static_cast<std::int64_t>(operand.size()) - 1;
  std::int64_t positions = 1;  // product of the leading reduced extents
  for (std::int64_t axis : axes) {
    if (axis == innermost) {
      order.lanes = true;
      continue;
    }
    const std::int64_t extent = operand[static_cast<std::size_t>(axis)];
    positions *= extent;
    if (order.block_axis < 0 && extent != 1) order.block_axis = axis;
  }
  if (order.block_axis >= 0) {
    const std::int64_t extent = operand[static_cast<std::size_t>(order.block_axis)];
    const std::int64_t slice = extent == 0 ? 1 : std::max<std::int64_t>(positions / extent, 1);
    const std::int64_t slices = ceil_div(kBlockPositions, slice);  // fewest slices of a block
    order.blocks = {extent, std::clamp<std::int64_t>(extent / slices, 1, kMaximumBlocks), 1};
  } else if (order.lanes) {
    const std::int64_t extent = operand[static_cast<std::size_t>(innermost)];
    order.block_axis = innermost;
    order.blocks = {extent, std::clamp<std::int64_t>(extent / kInnermostBlock, 1, kMaximumBlocks),
                    kLanes};
  }
  return order;
}

PartRule part_rule(const Attributes& attributes) {
  return {attributes.get<std::int64_t>("part_unit"), attributes.get<std::int64_t>("part_chain")};
}

ContractionOrder contraction_order(std::span<const std::int64_t> extents, const PartRule& rule) {
  ContractionOrder order;
  std::int64_t length = 1;
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    length *= extents[axis];
    if (order.part_axis < 0 && extents[axis] != 1)
      order.part_axis = static_cast<std::int64_t>(axis);
  }
  if (order.part_axis < 0) return order;
  const std::int64_t extent = extents[static_cast<std::size_t>(order.part_axis)];
  const std::int64_t parts = std::min(kMaximumParts, ceil_div(length, rule.chain));
  const std::int64_t slices = std::max<std::int64_t>(ceil_div(extent, rule.unit), 1);
  order.parts = {extent, std::clamp<std::int64_t>(parts, 1, slices), rule.unit};
  return order;
}

}  // namespace gradus::ir
