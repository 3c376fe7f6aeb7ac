#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

using X = std::span<const Scalar>;

std::vector<TensorType> infer_cast(const InferContext& context) {
  return {{context.attributes.get<ElementType>("element"), context.operands[0].shape}};
}

Cotangents vjp_max(const VjpContext& c) {
  // The first operand takes the cotangent where both are equal.
  const Expr first = map("less_equal", c.x[1], c.x[0]);
  const Expr zero = full_like(c.dy, 0);
  return {reduce_to(select(first, c.dy, zero), c.x[0]),
          reduce_to(select(first, zero, c.dy), c.x[1])};
}
Cotangents vjp_min(const VjpContext& c) {
  const Expr first = map("less_equal", c.x[0], c.x[1]);
  const Expr zero = full_like(c.dy, 0);
  return {reduce_to(select(first, c.dy, zero), c.x[0]),
          reduce_to(select(first, zero, c.dy), c.x[1])};
}

Scalar record_sign(ScalarBuilder& b, X x, const Attributes&) {
  const Scalar zero = b.constant(x[0].type(), 0);
  const Scalar one = b.constant(x[0].type(), 1);
  if (!is_float(x[0].type()) && !is_signed_integer(x[0].type())) {
    return select(equal(x[0], zero), zero, one);
  }
  const Scalar below = select(less(x[0], zero), b.constant(x[0].type(), -1), x[0]);
  return select(less(zero, x[0]), one, below);
}

}  // namespace

std::vector<OpRecord> arithmetic_ops() {
  const std::vector<OpExample> two_floats{{{"f32[3,5]", "f32[3,5]"}}, {{"f64[7]", "f64[]"}}};
  std::vector<OpExample> two = two_floats;
  two.push_back({{"i32[4]", "i32[4]"}});
  two.push_back({{"i64[3]", "i64[3]"}});
  two.push_back({{"u32[4]", "u32[4]"}, "", 0, 9});
  two.push_back({{"u8[4]", "u8[4]"}, "", 0, 9});
  const std::vector<OpExample> division{
      {{"f32[3,5]", "f32[3,5]"}, "", 0.5, 3}, {{"f64[7]", "f64[]"}, "", 0.5, 3},
      {{"i32[4]", "i32[4]"}, "", 1, 9},       {{"i64[4]", "i64[4]"}, "", 1, 9},
      {{"u32[4]", "u32[4]"}, "", 1, 9},       {{"u8[4]", "u8[4]"}, "", 1, 9}};
  const std::vector<OpExample> one{{{"f32[3,5]"}}, {{"f64[7]"}}, {{"i32[4]"}}, {{"i64[4]"}}};
  std::vector<OpRecord> ops;
  const auto binary = [&](std::string_view name, std::string_view doc, auto record, auto vjp,
                          bool smooth, const std::vector<OpExample>& examples) {
    ops.push_back({.name = name,
                   .doc = doc,
                   .least_operands = 2,
                   .most_operands = 2,
                   .infer = infer_number,
                   .vjp = vjp,
                   .compute = ElementwiseComputation{record},
                   .smooth = smooth,
                   .examples = examples});
  };
  binary(
      "add", "a + b; integers wrap.",
      [](ScalarBuilder&, X x, const Attributes&) { return x[0] + x[1]; },
      [](const VjpContext& c) {
        return Cotangents{reduce_to(c.dy, c.x[0]), reduce_to(c.dy, c.x[1])};
      },
      true, two);
  binary(
      "sub", "a - b; integers wrap.",
      [](ScalarBuilder&, X x, const Attributes&) { return x[0] - x[1]; },
      [](const VjpContext& c) {
        return Cotangents{reduce_to(c.dy, c.x[0]), reduce_to(-c.dy, c.x[1])};
      },
      true, two);
  for (OpRecord& record : ops) record.additive = true;  // add and sub
  binary(
      "mul", "a * b; integers wrap.",
      [](ScalarBuilder&, X x, const Attributes&) { return x[0] * x[1]; },
      [](const VjpContext& c) {
        return Cotangents{reduce_to(c.dy * c.x[1], c.x[0]), reduce_to(c.dy * c.x[0], c.x[1])};
      },
      true, two);
  binary(
      "div",
      "a / b. Integers truncate; the least divided by -1 wraps; by zero is a fault of the step.",
      [](ScalarBuilder&, X x, const Attributes&) { return x[0] / x[1]; },
      [](const VjpContext& c) {
        const Expr dx = c.dy / c.x[1];
        return Cotangents{reduce_to(dx, c.x[0]), reduce_to(-(dx * c.y), c.x[1])};
      },
      true, division);
  binary(
      "rem", "Remainder with the sign of the dividend. The gradient is that between the jumps.",
      [](ScalarBuilder& b, X x, const Attributes&) {
        return b.emit(ScalarOp::rem, x[0].type(), {x[0], x[1]});
      },
      [](const VjpContext& c) {
        const Expr quotient = (c.x[0] - c.y) / c.x[1];
        return Cotangents{reduce_to(c.dy, c.x[0]), reduce_to(-(c.dy * quotient), c.x[1])};
      },
      false, division);
  binary(
      "max", "The greater; NaN wins, -0 < +0. Equal operands: the first takes the cotangent.",
      [](ScalarBuilder&, X x, const Attributes&) { return max(x[0], x[1]); }, vjp_max, false, two);
  binary(
      "min", "The smaller; NaN wins, -0 < +0. Equal operands: the first takes the cotangent.",
      [](ScalarBuilder&, X x, const Attributes&) { return min(x[0], x[1]); }, vjp_min, false, two);
  ops.push_back({.name = "neg",
                 .doc = "-x: flips the sign bit of a float; integers wrap.",
                 .infer = infer_number,
                 .vjp = [](const VjpContext& c) { return Cotangents{-c.dy}; },
                 .compute = ElementwiseComputation{[](ScalarBuilder&, X x, const Attributes&) {
                   return -x[0];
                 }},
                 .smooth = true,
                 .additive = true,
                 .examples = one});
  ops.push_back({.name = "abs",
                 .doc = "|x|; the derivative at 0 is 0.",
                 .infer = infer_number,
                 .vjp = [](const VjpContext& c) { return Cotangents{c.dy * map("sign", c.x[0])}; },
                 .compute = ElementwiseComputation{[](ScalarBuilder&, X x, const Attributes&) {
                   return abs(x[0]);
                 }},
                 .examples = one});
  ops.push_back({.name = "sign",
                 .doc = "-1, 0 or 1; keeps zeros' sign and NaN. The derivative is 0.",
                 .infer = infer_number,
                 .compute = ElementwiseComputation{record_sign},
                 .examples = one});
  ops.push_back(
      {.name = "fma",
       .doc = "a * b + c rounded once.",
       .least_operands = 3,
       .most_operands = 3,
       .infer = infer_float,
       .vjp =
           [](const VjpContext& c) {
             return Cotangents{reduce_to(c.dy * c.x[1], c.x[0]), reduce_to(c.dy * c.x[0], c.x[1]),
                               reduce_to(c.dy, c.x[2])};
           },
       .compute = ElementwiseComputation{[](ScalarBuilder&, X x, const Attributes&) {
         return fma(x[0], x[1], x[2]);
       }},
       .smooth = true,
       .examples = {{{"f32[3,5]", "f32[3,5]", "f32[3,5]"}}, {{"f64[7]", "f64[]", "f64[7]"}}}});
  ops.push_back({.name = "cast",
                 .doc =
                     "Converts the value. Float to integer truncates and saturates, NaN gives 0; "
                     "integers wrap; to bool: not zero.",
                 .attributes = {{"element", AttributeKind::element_type, "Type of the result."}},
                 .infer = infer_cast,
                 .vjp =
                     [](const VjpContext& c) {
                       if (!is_float(c.x[0].element())) return Cotangents{std::nullopt};
                       return Cotangents{cast(c.dy, c.x[0].element())};
                     },
                 .compute = ElementwiseComputation{[](ScalarBuilder&, X x, const Attributes& a) {
                   return convert(x[0], a.get<ElementType>("element"));
                 }},
                 .smooth = true,
                 .examples = {{{"f32[3,5]"}, "element = f64"},
                              {{"f64[5]"}, "element = f32"},
                              {{"f32[20]"}, "element = i32", -9, 9},
                              {{"f32[20]"}, "element = u8", -9, 300},
                              {{"f64[20]"}, "element = i64", -9, 9},
                              {{"i32[20]"}, "element = f32", -9, 9},
                              {{"i64[20]"}, "element = u8", -9, 900},
                              {{"u8[20]"}, "element = f32", 0, 255},
                              {{"bool[5]"}, "element = f32"},
                              {{"f32[5]"}, "element = bool"}}});
  ops.push_back({.name = "stop_gradient",
                 .doc = "x itself; no cotangent flows through it.",
                 .infer = infer_same,
                 .compute = ElementwiseComputation{[](ScalarBuilder&, X x, const Attributes&) {
                   return x[0];
                 }},
                 .examples = one});
  ops.push_back({.name = "select",
                 .doc = "a where the condition holds, else b; moves bits.",
                 .least_operands = 3,
                 .most_operands = 3,
                 .infer =
                     [](const InferContext& context) {
                       if (context.operands[0].element != ElementType::boolean ||
                           context.operands[1].element != context.operands[2].element) {
                         throw TypeError("select needs bool and two of one type, found " +
                                         to_string(context.operands[0]) + ", " +
                                         to_string(context.operands[1]) + " and " +
                                         to_string(context.operands[2]));
                       }
                       return std::vector<TensorType>{
                           {context.operands[1].element, elementwise_shape(context)}};
                     },
                 .vjp =
                     [](const VjpContext& c) {
                       const Expr zero = full_like(c.dy, 0);
                       return Cotangents{std::nullopt,
                                         reduce_to(select(c.x[0], c.dy, zero), c.x[1]),
                                         reduce_to(select(c.x[0], zero, c.dy), c.x[2])};
                     },
                 .compute = ElementwiseComputation{[](ScalarBuilder&, X x, const Attributes&) {
                   return select(x[0], x[1], x[2]);
                 }},
                 .smooth = true,
                 .examples = {{{"bool[3,5]", "f32[3,5]", "f32[3,5]"}},
                              {{"bool[7]", "f64[7]", "f64[]"}},
                              {{"bool[7]", "u8[7]", "u8[7]"}, "", 0, 200}}});
  return ops;
}

}  // namespace gradus::ir
