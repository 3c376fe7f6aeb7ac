#include "base/float_environment.h"

#include <cmath>
#include <limits>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace gradus {
namespace {

#if defined(__x86_64__)
constexpr unsigned kFlushToZero = 1u << 15;
constexpr unsigned kDenormalsAreZero = 1u << 6;
constexpr unsigned kAllMasked = 0x3Fu << 7;
constexpr unsigned kStatusFlags = 0x3Fu;
constexpr unsigned kWanted = kFlushToZero | kDenormalsAreZero | kAllMasked;

unsigned read_control() { return _mm_getcsr(); }
void write_control(unsigned value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
// FPCR.FZ flushes operands and results, the other fields at zero mean nearest even and no traps.
constexpr unsigned kWanted = 1u << 24;
constexpr unsigned kStatusFlags = 0;

unsigned read_control() { return static_cast<unsigned>(__builtin_aarch64_get_fpcr()); }
void write_control(unsigned value) { __builtin_aarch64_set_fpcr(value); }
#else
#error "the floating-point environment of this processor is not known"
#endif

template <typename T>
T fused(T a, T b, T c) {
  a = flush_subnormal(a);
  b = flush_subnormal(b);
  c = flush_subnormal(c);
  const T result = flush_subnormal(std::fma(a, b, c));
  if (std::abs(result) != std::numeric_limits<T>::min()) return result;
  // A software fma rounds to this from below the normal range with a subnormal's precision; with
  // full precision some of those values stay below, where they are zero.
  constexpr T scale = T{1ull << 60};
  const T scaled = std::abs(a) < std::abs(b) ? std::fma(a * scale, b, c * scale)
                                             : std::fma(a, b * scale, c * scale);
  const bool tiny = std::abs(scaled) < std::numeric_limits<T>::min() * scale;
  return tiny ? std::copysign(T{0}, result) : result;
}

template <typename T>
T remainder_of(T a, T b) {
  return flush_subnormal(std::fmod(flush_subnormal(a), flush_subnormal(b)));
}

}  // namespace

FloatEnvironment::FloatEnvironment() : saved_(read_control()) { write_control(kWanted); }

FloatEnvironment::~FloatEnvironment() { write_control(saved_); }

bool FloatEnvironment::active() { return (read_control() & ~kStatusFlags) == kWanted; }

float fused_multiply_add(float a, float b, float c) { return fused(a, b, c); }
double fused_multiply_add(double a, double b, double c) { return fused(a, b, c); }

float float_remainder(float a, float b) { return remainder_of(a, b); }
double float_remainder(double a, double b) { return remainder_of(a, b); }

}  // namespace gradus
