#include <numbers>

#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

using X = std::span<const Scalar>;

}  // namespace

std::vector<OpRecord> math_ops() {
  std::vector<OpRecord> ops;
  const auto unary = [&](std::string_view name, std::string_view doc, auto record, auto vjp,
                         double low, double high, bool smooth = true) {
    ops.push_back({.name = name,
                   .doc = doc,
                   .infer = infer_float,
                   .vjp = vjp,
                   .compute = ElementwiseComputation{record},
                   .smooth = smooth,
                   .examples = {{{"f32[3,5]"}, "", low, high}, {{"f64[19]"}, "", low, high}}});
  };
  unary(
      "exp", "e^x. A primitive for accuracy: one program of the math library.",
      [](ScalarBuilder& b, X x, const Attributes&) { return b.call("exp", {x[0]}); },
      [](const VjpContext& c) { return Cotangents{c.dy * c.y}; }, -3, 3);
  unary(
      "log", "Natural logarithm; NaN below 0, -inf at 0.",
      [](ScalarBuilder& b, X x, const Attributes&) { return b.call("log", {x[0]}); },
      [](const VjpContext& c) { return Cotangents{c.dy / c.x[0]}; }, 0.3, 4);
  unary(
      "log1p", "log(1 + x), accurate near 0.",
      [](ScalarBuilder& b, X x, const Attributes&) { return b.call("log1p", {x[0]}); },
      [](const VjpContext& c) { return Cotangents{c.dy / (1.0 + c.x[0])}; }, -0.6, 4);
  unary(
      "expm1", "e^x - 1, accurate near 0.",
      [](ScalarBuilder& b, X x, const Attributes&) { return b.call("expm1", {x[0]}); },
      [](const VjpContext& c) { return Cotangents{c.dy * (c.y + 1.0)}; }, -3, 3);
  unary(
      "sqrt", "Square root, correctly rounded; NaN below 0.",
      [](ScalarBuilder&, X x, const Attributes&) { return sqrt(x[0]); },
      [](const VjpContext& c) { return Cotangents{c.dy / (c.y + c.y)}; }, 0.3, 4);
  unary(
      "rsqrt", "1 / sqrt(x).",
      [](ScalarBuilder& b, X x, const Attributes&) { return b.call("rsqrt", {x[0]}); },
      [](const VjpContext& c) { return Cotangents{c.dy * c.y / c.x[0] * -0.5}; }, 0.3, 4);
  unary(
      "tanh", "Hyperbolic tangent.",
      [](ScalarBuilder& b, X x, const Attributes&) { return b.call("tanh", {x[0]}); },
      [](const VjpContext& c) { return Cotangents{c.dy * (1.0 - c.y * c.y)}; }, -3, 3);
  unary(
      "sigmoid", "1 / (1 + e^-x).",
      [](ScalarBuilder& b, X x, const Attributes&) { return b.call("sigmoid", {x[0]}); },
      [](const VjpContext& c) { return Cotangents{c.dy * (c.y * (1.0 - c.y))}; }, -3, 3);
  unary(
      "erf", "Error function.",
      [](ScalarBuilder& b, X x, const Attributes&) { return b.call("erf", {x[0]}); },
      [](const VjpContext& c) {
        const double scale = 2 * std::numbers::inv_sqrtpi;
        return Cotangents{c.dy * (map("exp", -(c.x[0] * c.x[0])) * scale)};
      },
      -3, 3);
  const auto step = [&](std::string_view name, std::string_view doc, auto record) {
    ops.push_back({.name = name,
                   .doc = doc,
                   .infer = infer_float,
                   .compute = ElementwiseComputation{record},
                   .examples = {{{"f32[40]"}, "", -4, 4}, {{"f64[40]"}, "", -4, 4}}});
  };
  step("floor", "Greatest integer not above x; the derivative is 0.",
       [](ScalarBuilder& b, X x, const Attributes&) { return b.call("floor", {x[0]}); });
  step("ceil", "Least integer not below x; the derivative is 0.",
       [](ScalarBuilder& b, X x, const Attributes&) { return b.call("ceil", {x[0]}); });
  step("round", "Nearest integer, ties to even; the derivative is 0.",
       [](ScalarBuilder& b, X x, const Attributes&) { return b.call("round", {x[0]}); });
  ops.push_back(
      {.name = "pow",
       .doc = "x^y with C's special cases. The cotangent of y is 0 where x is 0.",
       .least_operands = 2,
       .most_operands = 2,
       .infer = infer_float,
       .vjp =
           [](const VjpContext& c) {
             const Expr x = c.x[0];
             const Expr dx = c.dy * (c.x[1] * map("pow", x, c.x[1] - 1.0));
             const Expr is_zero = map("equal", x, full_like(x, 0));
             const Expr safe = select(is_zero, full_like(x, 1), x);
             const Expr dy = c.dy * c.y * map("log", safe);
             return Cotangents{reduce_to(dx, x), reduce_to(dy, c.x[1])};
           },
       .compute = ElementwiseComputation{[](ScalarBuilder& b, X x, const Attributes&) {
         return b.call("pow", {x[0], x[1]});
       }},
       .smooth = true,
       .examples = {{{"f32[3,5]", "f32[3,5]"}, "", 0.3, 3}, {{"f64[19]", "f64[]"}, "", 0.3, 3}}});
  return ops;
}

}  // namespace gradus::ir
