#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace gradus {

/// While alive, subnormal operands and results of this thread's float arithmetic are zero with
/// their sign kept (x86: FTZ and DAZ of MXCSR), rounding is to nearest even and no exception traps.
/// The former environment returns at the end of the scope.
class FloatEnvironment {
 public:
  FloatEnvironment();
  ~FloatEnvironment();
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

  /// Whether this thread's arithmetic has the environment's properties now.
  [[nodiscard]] static bool active();

 private:
  unsigned saved_;
};

/// Zero with x's sign when x is subnormal, else x; the same in every environment.
template <typename T>
[[nodiscard]] constexpr T flush_subnormal(T x) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits sign = Bits{1} << (sizeof(T) * 8 - 1);
  constexpr Bits least_normal = std::bit_cast<Bits>(std::numeric_limits<T>::min());
  const Bits bits = std::bit_cast<Bits>(x);
  return (bits & ~sign) < least_normal ? std::bit_cast<T>(bits & sign) : x;
}

// Arithmetic that may reach a library function, which knows nothing of flushing. The interpreter
// and, where the hardware lacks the operation, compiled kernels call these.

/// a * b + c rounded once; subnormal operands and results are zero. Tininess is judged after
/// rounding, as x86 does.
[[nodiscard]] float fused_multiply_add(float a, float b, float c);
[[nodiscard]] double fused_multiply_add(double a, double b, double c);

/// C's fmod; subnormal operands and results are zero.
[[nodiscard]] float float_remainder(float a, float b);
[[nodiscard]] double float_remainder(double a, double b);

}  // namespace gradus
