#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace gradus::runtime {

/// A sequence of random numbers that is a function of seed, purpose and index alone (Philox
/// 4x32-10). Streams of different purposes or indices are independent of each other and of the
/// random operations of a model. Everything here is exactly defined: the same on every machine.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::string_view purpose, std::uint64_t index);

  [[nodiscard]] std::uint32_t next();
  /// In [0, 1), a multiple of 2^-32.
  [[nodiscard]] double uniform();
  /// In [low, high).
  [[nodiscard]] double uniform(double low, double high);
  /// In [0, bound), every value equally likely; 0 < bound (Lemire, "Fast random integer
  /// generation in an interval", TOMACS 2019).
  [[nodiscard]] std::uint32_t below(std::uint32_t bound);
  /// Mean 0, variance 1, at most 6 in magnitude: the sum of twelve uniforms less 6, which needs
  /// no logarithm.
  [[nodiscard]] double normal();

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> words_{};
  std::size_t used_ = 4;
};

/// The point of the unit circle at `turns` full turns from (1, 0), |turns| < 2^31; within 1e-11,
/// from additions and multiplications only.
struct Rotation {
  double cosine = 1;
  double sine = 0;
};
[[nodiscard]] Rotation rotation(double turns);

}  // namespace gradus::runtime
