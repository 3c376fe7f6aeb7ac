#include "ir/math.h"

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
Scalar with_sign_of(Scalar magnitude_result, Scalar x) {
  const ElementType bits = x.type() == ElementType::f32 ? ElementType::u32 : ElementType::i64;
  const Scalar sign = bitcast(x, bits) ^ bitcast(abs(x), bits);
  return bitcast(bitcast(abs(magnitude_result), bits) | sign, x.type());
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

std::vector<MathFunction> record_all() {
  std::vector<MathFunction> functions;
  for (ElementType type : {ElementType::f32, ElementType::f64}) {
    functions.push_back(unary("rsqrt", type, 1.0, rsqrt));
    functions.push_back(unary("floor", type, 0, floor));
    functions.push_back(unary("ceil", type, 0, ceil));
    functions.push_back(unary("round", type, 0, round_even));
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
