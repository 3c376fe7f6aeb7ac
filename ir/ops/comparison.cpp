#include <limits>

#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

using X = std::span<const Scalar>;

std::vector<TensorType> infer_comparison(const InferContext& context) {
  return {{ElementType::boolean, infer_same(context)[0].shape}};
}

std::vector<TensorType> infer_order(const InferContext& context) {
  return {{ElementType::boolean, infer_number(context)[0].shape}};
}

std::vector<TensorType> infer_logic(const InferContext& context) {
  if (is_float(context.operands[0].element)) {
    throw TypeError("needs bool or an integer type, found " + to_string(context.operands[0]));
  }
  return infer_same(context);
}

std::int64_t greatest(ElementType integer) {
  switch (integer) {
    case ElementType::u8:
      return std::numeric_limits<std::uint8_t>::max();
    case ElementType::u32:
      return std::numeric_limits<std::uint32_t>::max();
    case ElementType::i32:
      return std::numeric_limits<std::int32_t>::max();
    default:
      return std::numeric_limits<std::int64_t>::max();
  }
}

}  // namespace

std::vector<OpRecord> comparison_ops() {
  std::vector<OpRecord> ops;
  const auto comparison = [&](std::string_view name, std::string_view doc, auto record,
                              auto infer) {
    ops.push_back({.name = name,
                   .doc = doc,
                   .least_operands = 2,
                   .most_operands = 2,
                   .infer = infer,
                   .compute = ElementwiseComputation{record},
                   .examples = {{{"f32[3,5]", "f32[3,5]"}},
                                {{"f64[7]", "f64[]"}},
                                {{"i32[9]", "i32[9]"}, "", -2, 3},
                                {{"i64[9]", "i64[9]"}, "", -2, 3},
                                {{"u32[9]", "u32[9]"}, "", 0, 3},
                                {{"u8[9]", "u8[9]"}, "", 0, 3}}});
  };
  comparison(
      "equal", "a = b; false with NaN.",
      [](ScalarBuilder&, X x, const Attributes&) { return equal(x[0], x[1]); }, infer_comparison);
  comparison(
      "not_equal", "a differs from b; true with NaN.",
      [](ScalarBuilder&, X x, const Attributes&) { return not_equal(x[0], x[1]); },
      infer_comparison);
  comparison(
      "less", "a < b; false with NaN.",
      [](ScalarBuilder&, X x, const Attributes&) { return less(x[0], x[1]); }, infer_order);
  comparison(
      "less_equal", "a <= b; false with NaN.",
      [](ScalarBuilder&, X x, const Attributes&) { return less_equal(x[0], x[1]); }, infer_order);
  comparison(
      "greater", "a > b; false with NaN.",
      [](ScalarBuilder&, X x, const Attributes&) { return less(x[1], x[0]); }, infer_order);
  comparison(
      "greater_equal", "a >= b; false with NaN.",
      [](ScalarBuilder&, X x, const Attributes&) { return less_equal(x[1], x[0]); }, infer_order);
  const auto logic = [&](std::string_view name, std::string_view doc, auto record) {
    ops.push_back({.name = name,
                   .doc = doc,
                   .least_operands = 2,
                   .most_operands = 2,
                   .infer = infer_logic,
                   .compute = ElementwiseComputation{record},
                   .examples = {{{"bool[3,5]", "bool[3,5]"}},
                                {{"i32[9]", "i32[9]"}},
                                {{"u8[9]", "u8[]"}, "", 0, 200}}});
  };
  logic("and", "Bitwise and.", [](ScalarBuilder&, X x, const Attributes&) { return x[0] & x[1]; });
  logic("or", "Bitwise or.", [](ScalarBuilder&, X x, const Attributes&) { return x[0] | x[1]; });
  logic("xor", "Bitwise exclusive or.",
        [](ScalarBuilder&, X x, const Attributes&) { return x[0] ^ x[1]; });
  ops.push_back({.name = "not",
                 .doc = "Logical not of a bool.",
                 .infer =
                     [](const InferContext& context) {
                       if (context.operands[0].element != ElementType::boolean) {
                         throw TypeError("not needs bool, found " + to_string(context.operands[0]));
                       }
                       return std::vector<TensorType>{context.operands[0]};
                     },
                 .compute = ElementwiseComputation{[](ScalarBuilder&, X x, const Attributes&) {
                   return logical_not(x[0]);
                 }},
                 .examples = {{{"bool[3,5]"}}}});
  ops.push_back(
      {.name = "check_index",
       .doc =
           "x itself; a fault of the step where it is not in [0, extent). A primitive because it "
           "can fault.",
       .attributes = {{"extent", AttributeKind::integer, "What x indexes."}},
       .infer =
           [](const InferContext& context) {
             if (!is_integer(context.operands[0].element)) {
               throw TypeError("check_index needs integers, found " +
                               to_string(context.operands[0]));
             }
             if (context.attributes.get<std::int64_t>("extent") < 0) {
               throw TypeError("check_index needs an extent of 0 or more");
             }
             return std::vector<TensorType>{context.operands[0]};
           },
       .compute = ElementwiseComputation{[](ScalarBuilder& b, X x, const Attributes& attributes) {
         const std::int64_t extent = attributes.get<std::int64_t>("extent");
         const ElementType element = x[0].type();
         Scalar inside = less_equal(b.constant(element, 0), x[0]);
         if (extent <= greatest(element)) {  // else every number of the type is below it
           inside = inside & less(x[0], b.constant(element, static_cast<double>(extent)));
         }
         b.emit(ScalarOp::fault, ElementType::boolean, {logical_not(inside)},
                static_cast<std::uint64_t>(FaultKind::index_out_of_range));
         return x[0];
       }},
       .examples = {{{"i32[9]"}, "extent = 4", 0, 4},
                    {{"i32[]"}, "extent = 1", 0, 1},
                    {{"i64[9]"}, "extent = 4", 0, 4},
                    {{"u32[9]"}, "extent = 4", 0, 4},
                    {{"u8[9]"}, "extent = 256", 0, 4}}});
  return ops;
}

}  // namespace gradus::ir
