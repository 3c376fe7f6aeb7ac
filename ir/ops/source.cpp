#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

std::vector<TensorType> infer_attributes(const InferContext& context) {
  TensorType type{context.attributes.get<ElementType>("element"),
                  context.attributes.get<Integers>("shape")};
  for (std::int64_t extent : type.shape) {
    if (extent < 0) throw TypeError("negative extent in shape " + to_string(type.shape));
  }
  return {type};
}

std::vector<TensorType> infer_input(const InferContext& context) {
  const std::string& kind = context.attributes.get<std::string>("kind");
  if (kind != "state" && kind != "batch" && kind != "scalar") {
    throw TypeError("an input is state, batch or scalar, found '" + kind + "'");
  }
  return infer_attributes(context);
}

std::vector<TensorType> infer_constant(const InferContext& context) {
  return {context.attributes.get<TensorPointer>("value")->type};
}

std::vector<TensorType> infer_iota(const InferContext& context) {
  std::vector<TensorType> types = infer_attributes(context);
  const std::int64_t axis = context.attributes.get<std::int64_t>("axis");
  if (axis < 0 || axis >= types[0].rank()) throw TypeError("iota needs an axis of its shape");
  const ElementType element = types[0].element;
  if (element != ElementType::i32 && element != ElementType::i64 && element != ElementType::u32) {
    throw TypeError("iota gives i32, i64 or u32; cast it to others");
  }
  return types;
}

Scalar record_iota(ScalarBuilder& b, std::span<const Scalar>, const Attributes& attributes) {
  return b.index(static_cast<int>(attributes.get<std::int64_t>("axis")),
                 attributes.get<ElementType>("element"));
}

}  // namespace

std::vector<OpRecord> source_ops() {
  const AttributeSpec element{"element", AttributeKind::element_type, "Element type."};
  const AttributeSpec shape{"shape", AttributeKind::integers, "Shape of the result."};
  std::vector<OpRecord> ops;
  ops.push_back(
      {.name = "input",
       .doc = "A tensor from outside: state that lasts, a batch of data, or a scalar.",
       .least_operands = 0,
       .most_operands = 0,
       .attributes = {{"name", AttributeKind::text, "Unique among the inputs."},
                      {"kind", AttributeKind::text, "state, batch or scalar."},
                      element,
                      shape},
       .infer = infer_input,
       .compute = InputComputation{},
       .examples = {{{}, "name = \"x\", kind = \"batch\", element = f32, shape = [2,3]"}}});
  ops.push_back({.name = "constant",
                 .doc = "The bits of attribute value.",
                 .least_operands = 0,
                 .most_operands = 0,
                 .attributes = {{"value", AttributeKind::tensor, "The tensor."}},
                 .infer = infer_constant,
                 .compute = ConstantComputation{},
                 .examples = {{{}, "value = f32[2] [1, 2.5]"}}});
  ops.push_back({.name = "iota",
                 .doc = "The position along an axis, from 0.",
                 .least_operands = 0,
                 .most_operands = 0,
                 .attributes = {element, shape, {"axis", AttributeKind::integer, "Counted axis."}},
                 .infer = infer_iota,
                 .compute = ElementwiseComputation{record_iota},
                 .examples = {{{}, "element = i32, shape = [3,5], axis = 1"},
                              {{}, "element = i64, shape = [20], axis = 0"}}});
  return ops;
}

}  // namespace gradus::ir
