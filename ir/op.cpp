#include "ir/op.h"

#include <string>
#include <unordered_map>

#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

std::vector<OpRecord> all_records() {
  std::vector<OpRecord> records;
  for (auto* family :
       {source_ops, arithmetic_ops, comparison_ops, math_ops, random_ops, movement_ops, window_ops,
        tile_ops, reduction_ops, indexing_ops, contraction_ops, convolution_ops, scan_ops}) {
    for (OpRecord& record : family()) records.push_back(std::move(record));
  }
  return records;
}

}  // namespace

std::span<const OpRecord> op_records() {
  static const std::vector<OpRecord> records = all_records();
  return records;
}

const OpRecord* find_op(std::string_view name) {
  static const auto by_name = [] {
    std::unordered_map<std::string_view, const OpRecord*> map;
    for (const OpRecord& record : op_records()) map.emplace(record.name, &record);
    return map;
  }();
  const auto at = by_name.find(name);
  return at == by_name.end() ? nullptr : at->second;
}

const OpRecord& op(std::string_view name) {
  const OpRecord* record = find_op(name);
  GRADUS_CHECK(record != nullptr, "no op named " + std::string(name));
  return *record;
}

ScalarProgram record_elementwise(const ElementwiseComputation& compute,
                                 std::span<const TensorType> operands, const TensorType& result,
                                 const Attributes& attributes) {
  std::vector<ElementType> types;
  for (const TensorType& operand : operands) types.push_back(operand.element);
  ScalarBuilder builder(std::move(types));
  std::vector<Scalar> x;
  for (std::size_t i = 0; i < operands.size(); ++i)
    x.push_back(builder.operand(static_cast<int>(i)));
  const Scalar y = compute.record(builder, x, attributes);
  GRADUS_CHECK(y.type() == result.element, "a program of another type than its op infers");
  return builder.finish({y});
}

ScalarProgram record_tile(const TileComputation& compute, const TensorType& operand,
                          const Attributes& attributes) {
  Shape extents;
  for (std::int64_t axis : attributes.get<Integers>("axes")) {
    extents.push_back(operand.shape[static_cast<std::size_t>(axis)]);
  }
  const auto count = static_cast<std::size_t>(element_count(extents));
  ScalarBuilder builder(std::vector<ElementType>(count, operand.element));
  std::vector<Scalar> tile;
  for (std::size_t i = 0; i < count; ++i) tile.push_back(builder.operand(static_cast<int>(i)));
  return builder.finish(compute.record(builder, tile, extents, attributes));
}

}  // namespace gradus::ir
