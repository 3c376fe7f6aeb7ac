#pragma once

#include <cstdint>
#include <vector>

namespace gradus::ir {

/// coefficient * (index along result axis).
struct AffineTerm {
  std::int64_t axis = 0;
  std::int64_t coefficient = 1;
  friend bool operator==(const AffineTerm&, const AffineTerm&) = default;
};

/// (sum of terms + offset) / divisor; only defined where the division is exact. With `chosen` the
/// position is a value of the graph instead, and inside wherever the step has no fault.
struct AxisMap {
  std::vector<AffineTerm> terms;
  std::int64_t offset = 0;
  std::int64_t divisor = 1;
  bool chosen = false;
  friend bool operator==(const AxisMap&, const AxisMap&) = default;
};

/// Where an operand is read, one entry per operand axis, as a function of the result index.
/// The map is *inside* the operand where every entry is exact and within [0, extent).
using IndexMap = std::vector<AxisMap>;

}  // namespace gradus::ir
