#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/philox.h"

namespace gradus::support {

/// A sequence of random numbers that a seed determines on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)} {}

  std::uint32_t word() { return philox4x32({counter_++, 0, 0, 0}, key_)[0]; }
  std::uint64_t seed() { return std::uint64_t{word()} << 32 | word(); }
  /// In [least, greatest].
  std::int64_t between(std::int64_t least, std::int64_t greatest) {
    return least + static_cast<std::int64_t>(word()) % (greatest - least + 1);
  }
  double uniform(double low, double high) { return low + word() / 0x1p32 * (high - low); }
  bool chance(double probability) { return uniform(0, 1) < probability; }
  template <typename Range>
  auto& pick(Range&& range) {
    return range[static_cast<std::size_t>(
        between(0, static_cast<std::int64_t>(std::size(range)) - 1))];
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint32_t counter_ = 0;
};

}  // namespace gradus::support
