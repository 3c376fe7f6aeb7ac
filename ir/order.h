#pragma once

// The order of sums: functions of shapes only (ir/README.md). Everything that adds - interpreter,
// kernels, passes that cut work into tasks - asks here.

#include <cstdint>
#include <span>

#include "base/tensor_type.h"

namespace gradus::ir {

class Attributes;

struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// [0, extent) cut into `count` nearly equal ranges whose inner borders are multiples of `unit`.
struct Cut {
  std::int64_t extent = 1;
  std::int64_t count = 1;
  std::int64_t unit = 1;
  [[nodiscard]] Range operator()(std::int64_t part) const;
  friend bool operator==(const Cut&, const Cut&) = default;
};

/// Lanes of a sum over the innermost axis: element j is added in lane j mod 16.
inline constexpr std::int64_t kLanes = 16;

/// How the sum over some axes of an operand is ordered. `blocks` cuts `block_axis` (an operand
/// axis); inside a block the reduced axes run in row-major order. With `lanes` the innermost
/// operand axis is reduced: 16 chains by innermost index mod 16 run through the whole block and
/// are folded +8, +4, +2, +1 at its end; else one chain per result element. All chains start at
/// +0. Blocks are added in order. `block_axis` is -1 where nothing is reduced (then one block).
struct SumOrder {
  Cut blocks;
  std::int64_t block_axis = -1;
  bool lanes = false;
};
[[nodiscard]] SumOrder sum_order(const Shape& operand, std::span<const std::int64_t> axes);

/// How long the parts of a contraction are. `unit`: a merged axis is cut at multiples of this many
/// positions, the slices of the axes it came from. `chain`: the longest one that is not cut.
struct PartRule {
  std::int64_t unit = 1;
  std::int64_t chain = 1024;
};
/// That of a contraction's attributes.
[[nodiscard]] PartRule part_rule(const Attributes& attributes);

/// How a contraction over `extents` (the contracted extents in order) is ordered: `parts` cuts
/// contracted axis `part_axis`; inside a part one chain of fma from +0, row-major; parts are
/// added in order. `part_axis` is -1 where no extent is greater than 1 (then one part).
struct ContractionOrder {
  Cut parts;
  std::int64_t part_axis = -1;
};
[[nodiscard]] ContractionOrder contraction_order(std::span<const std::int64_t> extents,
                                                 const PartRule& rule = {});

/// A contraction with fewer outputs than this per batch element is defined as sum of products.
inline constexpr std::int64_t kSmallContraction = 64;

}  // namespace gradus::ir
