#include "ir/math.h"

#include <limits>
#include <string>
#include <vector>

#include "base/check.h"

namespace gradus::ir {
namespace {

MathFunction unary(std::string_view name, ElementType type, double ulp, Scalar (*record)(Scalar)) {
  ScalarBuilder b({type});
  return {name, type, 1, ulp, b.finish({record(b.operand(0))})};
}

/// Adding and subtracting 1.5 * 2^(mantissa bits) rounds to an integer, ties to even; values
/// without a fraction (and NaN) stay as they are. The sign is put back for results of zero.
Scalar round_even(Scalar x) {
  const double magic = x.type() == ElementType::f32 ? 0x1p23 : 0x1p52;
  const ElementType bits = x.type() == ElementType::f32 ? ElementType::u32 : ElementType::i64;
  const Scalar magnitude = abs(x);
  const Scalar rounded = (magnitude + magic) - magic;
  const Scalar sign = bitcast(x, bits) ^ bitcast(magnitude, bits);
  return select(less(magnitude, x.builder->constant(x.type(), magic)),
                bitcast(bitcast(rounded, bits) | sign, x.type()), x);
}
/// `magnitude`, whose own sign is +, with the sign of `x`.
Scalar signed_as(Scalar magnitude, Scalar x) {
  const ElementType bits = x.type() == ElementType::f32 ? ElementType::u32 : ElementType::i64;
  const Scalar sign = bitcast(x, bits) ^ bitcast(abs(x), bits);
  return bitcast(bitcast(magnitude, bits) | sign, x.type());
}
Scalar with_sign_of(Scalar magnitude_result, Scalar x) {
  return signed_as(abs(magnitude_result), x);
}
Scalar floor(Scalar x) {
  const Scalar near = round_even(x);
  return select(less(x, near), near - 1.0, near);
}
Scalar ceil(Scalar x) {
  const Scalar near = round_even(x);
  return select(less(near, x), with_sign_of(near + 1.0, x), near);
}
Scalar rsqrt(Scalar x) { return 1.0 / sqrt(x); }

// --- Shared pieces ------------------------------------------------------------------------------

bool single(Scalar x) { return x.type() == ElementType::f32; }
Scalar number(Scalar like, double value) { return like.builder->constant(like.type(), value); }
Scalar infinity(Scalar like) { return number(like, std::numeric_limits<double>::infinity()); }
Scalar not_a_number(Scalar like) { return number(like, std::numeric_limits<double>::quiet_NaN()); }

/// Horner's rule with fma; the highest coefficient first.
Scalar polynomial(Scalar x, std::initializer_list<double> coefficients) {
  Scalar sum;
  for (double c : coefficients) sum = sum.builder ? fma(sum, x, number(x, c)) : number(x, c);
  return sum;
}

// --- exp, log -----------------------------------------------------------------------------------

/// e^x = 2^n e^r with n = round(x / ln 2) and r by two-step Cody-Waite reduction. Adding a magic
/// number rounds and leaves n in the low bits. f32: n counts sixteenths, 2^(n mod 16 / 16) is in a
/// table, what rounding took from it in another, and the polynomial is the Taylor series to r^3
/// with the terms beyond spread over it. f64: the Taylor series to r^13.
Scalar exp(Scalar x) {
  const bool f32 = single(x);
  const Scalar least = number(x, f32 ? -104 : -745);
  const Scalar greatest = number(x, f32 ? 89 : 710);
  x = select(less(x, least), least, x);
  x = select(less(greatest, x), greatest, x);
  const double steps = f32 ? 16 : 1;  // n / steps is the exponent
  const Scalar magic = number(x, f32 ? 0x1.8p23 : 0x1.8p52);
  const Scalar shifted = fma(x, number(x, 1.4426950408889634 * steps), magic);
  const ElementType bits = f32 ? ElementType::i32 : ElementType::i64;
  const Scalar whole = bitcast(shifted, bits) - bitcast(magic, bits);
  const Scalar n = shifted - magic;
  const Scalar high = fma(n, number(x, (f32 ? -0.693359375 : -0x1.62e42fefa3800p-1) / steps), x);
  const Scalar r = fma(n, number(x, (f32 ? 2.12194440e-4 : -0x1.ef35793c76730p-45) / steps), high);
  if (f32) {
    const Scalar sixteenth = bitcast(shifted, bits);
    const Scalar power = table("exp_power", sixteenth);
    const Scalar below = fma(power, r, table("exp_rest", sixteenth));
    const Scalar p = polynomial(r, {1.66669785e-1, 5.00016183e-1, 1});
    return ldexp(fma(p, below, power), whole >> 4);
  }
  double factorial = 6227020800.0;  // 13!
  Scalar p = number(r, 1 / factorial);
  for (int k = 13; k > 2; --k) {
    factorial /= k;
    p = fma(p, r, number(r, 1 / factorial));
  }
  return ldexp(fma(p, r * r, r) + 1.0, convert(whole, ElementType::i32));
}

/// x = 2^e m with m in [sqrt(1/2), sqrt(2)); log m by Cephes' polynomial (f32) or the series in
/// s = f / (2 + f), f = m - 1 (f64, arranged as in Sun's fdlibm).
Scalar log(Scalar x) {
  const bool f32 = single(x);
  const ElementType bits_type = f32 ? ElementType::i32 : ElementType::i64;
  const auto bits_of = [&](std::uint64_t value) {
    return x.builder->constant_bits(bits_type, value);
  };
  const int mantissa = f32 ? 23 : 52;
  const Scalar bits = bitcast(x, bits_type);
  const Scalar exponent = (bits - bits_of(f32 ? 0x3f3504f3u : 0x3fe6a09e667f3bcdu)) >> mantissa;
  const Scalar f = bitcast(bits - (exponent << mantissa), x.type()) - 1.0;
  const Scalar e = convert(exponent, x.type());
  const Scalar square = f * f;
  Scalar result;
  if (f32) {
    const Scalar p = polynomial(
        f, {7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
            -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1});
    Scalar y = p * f * square;
    y = fma(e, number(x, -2.12194440e-4), y);
    y = fma(square, number(x, -0.5), y);
    result = fma(e, number(x, 0.693359375), f + y);
  } else {
    const Scalar s = f / (f + 2.0);
    const Scalar z = s * s;
    Scalar r = number(x, 2.0 / 27);
    for (int k = 25; k >= 3; k -= 2) r = fma(r, z, number(x, 2.0 / k));
    r = r * z;
    const Scalar half = square * 0.5;
    const Scalar low = e * 1.90821492927058770002e-10;
    result = e * 6.93147180369123816490e-01 - ((half - (s * (half + r) + low)) - f);
  }
  const Scalar zero = number(x, 0);
  result = select(less(x, infinity(x)), result, x);  // +inf and NaN stay
  result = select(equal(x, zero), -infinity(x), result);
  return select(less(x, zero), not_a_number(x), result);
}

/// log(u) x / (u - 1) with u = 1 + x, which undoes the rounding of u (Kahan).
Scalar log1p(Scalar x) {
  const Scalar u = x + 1.0;
  const Scalar corrected = log(u) * (x / (u - 1.0));
  const Scalar result = select(equal(u, number(x, 1)), x, corrected);
  return select(equal(x, infinity(x)), x, result);
}

/// (u - 1) x / log(u) with u = e^x, which undoes the rounding of u (Kahan).
Scalar expm1(Scalar x) {
  const Scalar u = exp(x);
  const Scalar below = u - 1.0;
  const Scalar corrected = below * (x / log(u));
  const Scalar large = less(number(x, 1), abs(x));
  return select(equal(u, number(x, 1)), x, select(large, below, corrected));
}

// --- tanh, sigmoid, erf -------------------------------------------------------------------------

/// An odd function that is nearly x near 0, of a = |x|: a + offset + (a - centre) slope, the slope
/// a polynomial in a - centre, all of the segment (modulo 16) that a belongs to. Centres are
/// numbers at which the function is so nearly the f32 centre + offset that nothing is lost by
/// adding it. The slopes are minimax fits in units in the last place (Lawson's iteration), their
/// coefficients rounded from the highest on and the rest fitted again.
Scalar odd_by_segments(Scalar x, Scalar a, Scalar segment, const std::string& name, int degree) {
  const auto entry = [&](const std::string& of) { return table(name + of, segment); };
  const Scalar u = a - entry("_centre");
  Scalar slope = entry("_slope" + std::to_string(degree));
  for (int k = degree; k-- > 0;) slope = fma(slope, u, entry("_slope" + std::to_string(k)));
  return signed_as(fma(slope, u, a + entry("_offset")), x);
}
/// |x|, or `greatest` if that is less; NaN stays.
Scalar magnitude_to(Scalar x, double greatest) {
  const Scalar magnitude = abs(x);
  const Scalar end = number(x, greatest);
  return select(less(end, magnitude), end, magnitude);
}

/// The segments are quarters of the octaves of |x| + 0.625; from 9.02 on it is 1.
Scalar tanh_single(Scalar x) {
  const Scalar a = magnitude_to(x, 9.02);
  const Scalar segment = bitcast(a + 0.625, ElementType::i32) >> 21;
  return odd_by_segments(x, a, segment, "tanh", 5);
}
Scalar tanh_double(Scalar x) {
  const Scalar magnitude = abs(x);
  const Scalar t = expm1(magnitude + magnitude);
  const Scalar near = t / (t + 2.0);
  const Scalar far = 1.0 - 2.0 / (exp(magnitude + magnitude) + 1.0);
  return with_sign_of(select(less(magnitude, number(x, 1)), near, far), x);
}
Scalar tanh(Scalar x) { return single(x) ? tanh_single(x) : tanh_double(x); }

Scalar sigmoid(Scalar x) { return 1.0 / (exp(-x) + 1.0); }

/// The segments lie around multiples of 1/4; adding rounds to them. From 3.875 on it is 1.
Scalar erf_single(Scalar x) {
  const Scalar a = magnitude_to(x, 0x1.effffep1);  // the last that rounds to number 15
  return odd_by_segments(x, a, bitcast(a + 0x1.8p21, ElementType::i32), "erf", 4);
}

/// f64: 2 / sqrt(pi) e^-x^2 sum of (2 x^2)^n x / (2n + 1)!! below 3, the continued fraction of
/// erfc beyond (Abramowitz and Stegun 7.1.6 and 7.1.14).
Scalar erf_double(Scalar x) {
  constexpr double kInverseRootPi = 0.56418958354775628695;
  const Scalar t = min(abs(x), number(x, 6));
  const Scalar square = t * t;
  const Scalar low = fma(t, t, -square);
  const Scalar decay = exp(-square) * (1.0 - low);
  Scalar series = number(x, 1);
  for (int n = 60; n > 0; --n) {
    series = fma(series * (square + square), number(x, 1.0 / (2 * n + 1)), number(x, 1));
  }
  const Scalar near = decay * series * t * (2 * kInverseRootPi);
  Scalar fraction = t;
  for (int k = 40; k > 0; --k) fraction = t + number(x, 0.5 * k) / fraction;
  const Scalar far = 1.0 - decay * kInverseRootPi / fraction;
  return with_sign_of(select(less(t, number(x, 3)), near, far), x);
}

Scalar erf(Scalar x) { return single(x) ? erf_single(x) : erf_double(x); }

/// e^(y log|x|) in f64, then C's special cases.
Scalar pow(Scalar x, Scalar y) {
  const Scalar wide = exp(convert(y, ElementType::f64) * log(convert(abs(x), ElementType::f64)));
  const Scalar magnitude = convert(wide, x.type());
  const Scalar whole = equal(floor(y), y);
  const Scalar half = y * 0.5;
  const Scalar odd = whole & not_equal(floor(half), half);
  const Scalar negative =
      less(x, number(x, 0)) | less(1.0 / x, number(x, 0));  // -0 counts as negative
  Scalar result = select(odd & negative, -magnitude, magnitude);
  result = select(less(x, number(x, 0)) & logical_not(whole), not_a_number(x), result);
  const Scalar one = number(x, 1);
  const Scalar certain =
      equal(y, number(y, 0)) | equal(x, one) | (equal(x, -one) & equal(abs(y), infinity(y)));
  return select(certain, one, result);
}

std::vector<MathFunction> record_all() {
  std::vector<MathFunction> functions;
  for (ElementType type : {ElementType::f32, ElementType::f64}) {
    const bool f32 = type == ElementType::f32;
    functions.push_back(unary("exp", type, f32 ? 1.1 : 1.5, exp));
    functions.push_back(unary("log", type, f32 ? 1.1 : 1.5, log));
    functions.push_back(unary("log1p", type, f32 ? 3 : 4, log1p));
    functions.push_back(unary("expm1", type, f32 ? 4 : 4, expm1));
    functions.push_back(unary("tanh", type, f32 ? 1.5 : 4, tanh));
    functions.push_back(unary("sigmoid", type, f32 ? 2.5 : 3, sigmoid));
    functions.push_back(unary("erf", type, f32 ? 1.5 : 12, erf));
    functions.push_back(unary("rsqrt", type, 1.5, rsqrt));
    functions.push_back(unary("floor", type, 0, floor));
    functions.push_back(unary("ceil", type, 0, ceil));
    functions.push_back(unary("round", type, 0, round_even));
    ScalarBuilder b({type, type});
    functions.push_back(
        {"pow", type, 2, f32 ? 1.0 : 1100, b.finish({pow(b.operand(0), b.operand(1))})});
  }
  return functions;
}

}  // namespace

std::span<const MathFunction> math_functions() {
  static const std::vector<MathFunction> functions = record_all();
  return functions;
}

std::size_t math_function(std::string_view name, ElementType type) {
  const auto functions = math_functions();
  for (std::size_t i = 0; i < functions.size(); ++i) {
    if (functions[i].name == name && functions[i].type == type) return i;
  }
  GRADUS_CHECK(false, "no math function " + std::string(name) + " " + std::string(to_string(type)));
}

}  // namespace gradus::ir
