#include "ir/compositions/indexing.h"

#include <limits>

#include "ir/indexing.h"
#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

constexpr std::int64_t kGreatestExtent = std::numeric_limits<std::int32_t>::max();

/// The axes, after a look at what gather and scatter_add have in common: an operand of `rank` axes
/// beside the one that is indexed, whose leading axes are those of the indices.
IndexedAxes checked_axes(const InferContext& context, std::int64_t rank) {
  const TensorType& indices = context.operands[1];
  const IndexedAxes axes = indexed_axes(context.attributes, indices);
  if (!is_integer(indices.element)) {
    throw TypeError("indices are integers, found " + to_string(indices));
  }
  if (axes.batch < 0 || axes.batch > axes.axis || axes.axis > rank || axes.places < 0) {
    throw TypeError("batch " + std::to_string(axes.batch) + " <= axis " +
                    std::to_string(axes.axis) + " <= " + std::to_string(rank) +
                    ", and indices of at least as many axes as the batch, found " +
                    to_string(indices));
  }
  const Shape& shape = context.operands[0].shape;
  for (std::int64_t axis = 0; axis < axes.batch; ++axis) {
    if (shape[at(axis)] != indices.shape[at(axis)]) {
      throw TypeError("the first " + std::to_string(axes.batch) + " axes of " +
                      to_string(context.operands[0]) + " and " + to_string(indices) + " differ");
    }
  }
  return axes;
}

std::vector<TensorType> infer_gather(const InferContext& context) {
  const TensorType& x = context.operands[0];
  const TensorType& indices = context.operands[1];
  if (x.rank() == 0) throw TypeError("needs an axis to index, found " + to_string(x));
  const IndexedAxes axes = checked_axes(context, x.rank() - 1);
  if (x.shape[at(axes.axis)] == 0) {
    throw TypeError("an axis of extent 0 of " + to_string(x) + " has no position");
  }
  TensorType result = x;
  const auto indexed = result.shape.begin() + axes.axis;
  result.shape.insert(result.shape.erase(indexed), indices.shape.begin() + axes.batch,
                      indices.shape.end());
  return {result};
}

std::vector<TensorType> infer_scatter(const InferContext& context) {
  const TensorType& updates = context.operands[0];
  const TensorType& indices = context.operands[1];
  if (updates.element == ElementType::boolean) {
    throw TypeError("needs numbers, found " + to_string(updates));
  }
  if (updates.rank() < indices.rank()) {
    throw TypeError("updates " + to_string(updates) + " have no axes for indices " +
                    to_string(indices));
  }
  const auto batch = context.attributes.get<std::int64_t>("batch");
  const IndexedAxes axes = checked_axes(context, updates.rank() - (indices.rank() - batch));
  const auto extent = context.attributes.get<std::int64_t>("extent");
  if (extent < 1 || extent > kGreatestExtent) {
    throw TypeError("an extent of at least 1, found " + std::to_string(extent));
  }
  for (std::int64_t place = 0; place < axes.places; ++place) {
    if (updates.shape[at(axes.axis + place)] != indices.shape[at(axes.batch + place)]) {
      throw TypeError("axes " + std::to_string(axes.axis) + " on of " + to_string(updates) +
                      " are not those of the indices " + to_string(indices));
    }
  }
  TensorType result = updates;
  const auto first = result.shape.begin() + axes.axis;
  result.shape.insert(result.shape.erase(first, first + axes.places), extent);
  return {result};
}

std::int64_t checked_axis(const InferContext& context) {
  const auto axis = context.attributes.get<std::int64_t>("axis");
  const TensorType& x = context.operands[0];
  if (axis < 0 || axis >= x.rank()) {
    throw TypeError("no axis " + std::to_string(axis) + " of " + to_string(x));
  }
  if (x.element == ElementType::boolean) throw TypeError("needs numbers, found " + to_string(x));
  return axis;
}

std::vector<TensorType> infer_cumulative(const InferContext& context) {
  (void)checked_axis(context);
  return {context.operands[0]};
}

std::vector<TensorType> infer_sort(const InferContext& context) {
  const std::int64_t axis = checked_axis(context);
  const Shape& shape = context.operands[0].shape;
  if (shape[at(axis)] > kGreatestExtent) throw TypeError("more positions than i32 counts");
  return {{ElementType::i32, shape}};
}

Cotangents vjp_gather(const VjpContext& c) {
  const auto axis = c.attributes.get<std::int64_t>("axis");
  const auto batch = c.attributes.get<std::int64_t>("batch");
  return {scatter_add(c.dy, c.x[1], axis, batch, c.x[0].shape()[at(axis)]), std::nullopt};
}

Cotangents vjp_scatter(const VjpContext& c) {
  return {gather(c.dy, c.x[1], c.attributes.get<std::int64_t>("axis"),
                 c.attributes.get<std::int64_t>("batch")),
          std::nullopt};
}

Cotangents vjp_cumulative(const VjpContext& c) {
  return {cumulative_sum(c.dy, c.attributes.get<std::int64_t>("axis"), /*exclusive=*/false,
                         /*reverse=*/true)};
}

}  // namespace

std::vector<OpRecord> indexing_ops() {
  const AttributeSpec axis{"axis", AttributeKind::integer, "The axis that is indexed.",
                           std::int64_t{0}};
  const AttributeSpec batch{"batch", AttributeKind::integer,
                            "How many leading axes both operands have.", std::int64_t{0}};
  const AttributeSpec along{"axis", AttributeKind::integer, "The axis."};
  std::vector<OpRecord> ops;
  ops.push_back({.name = "gather",
                 .doc = "Slices of the first operand, [batch, before, extent, inside], at the "
                        "positions along `axis` that the second, [batch, places], gives: [batch, "
                        "before, places, inside]. A position outside of [0, extent) is a fault of "
                        "the step. A primitive because fusion reads the slices in place.",
                 .least_operands = 2,
                 .most_operands = 2,
                 .attributes = {axis, batch},
                 .infer = infer_gather,
                 .vjp = vjp_gather,
                 .compute = GatherComputation{},
                 .smooth = true,
                 .examples = {{{"f32[5,3]", "i32[4]"}, "", 0, 5},
                              {{"f32[3,4,21]", "i32[3,2]"}, "axis = 1, batch = 1", 0, 4},
                              {{"f64[2,5]", "i64[2,7]"}, "axis = 1, batch = 1", 0, 5},
                              {{"f32[2,3,33]", "u8[5]"}, "axis = 2", 0, 33},
                              {{"i32[6,2]", "u32[]"}, "", 0, 6}}});
  ops.push_back(
      {.name = "scatter_add",
       .doc = "The reverse of gather: zeros, [batch, before, extent, inside], to which "
              "the slices of the first operand, [batch, before, places, inside], are "
              "added at the positions along `axis` that the second gives, in the order "
              "of the indices. A position outside of [0, extent) is a fault of the step.",
       .least_operands = 2,
       .most_operands = 2,
       .attributes = {axis,
                      batch,
                      {"extent", AttributeKind::integer,
                       "Positions of the result along the axis, at least 1."}},
       .infer = infer_scatter,
       .vjp = vjp_scatter,
       .compute = ScatterComputation{},
       .smooth = true,
       .examples = {{{"f32[9,3]", "i32[9]"}, "extent = 5", 0, 5},
                    {{"f32[3,2,2,21]", "i32[3,2]"}, "axis = 2, batch = 1, extent = 4", 0, 4},
                    {{"f64[2,7]", "i64[2,7]"}, "axis = 1, batch = 1, extent = 3", 0, 3},
                    {{"i32[6,2]", "u8[6]"}, "extent = 2", 0, 2},
                    {{"f32[130]", "u32[]"}, "extent = 3", 0, 3}}});
  ops.push_back({.name = "cumulative_sum",
                 .doc = "Sums along `axis` up to each position: one chain of additions from +0 in "
                        "the order of the axis.",
                 .attributes = {along},
                 .infer = infer_cumulative,
                 .vjp = vjp_cumulative,
                 .compute = CumulativeComputation{},
                 .smooth = true,
                 .examples = {{{"f32[3,21]"}, "axis = 1"},
                              {{"f32[40,5]"}, "axis = 0"},
                              {{"f64[2,7,19]"}, "axis = 1"},
                              {{"i32[9]"}, "axis = 0"},
                              {{"f32[0,3]"}, "axis = 0"}}});
  ops.push_back(
      {.name = "arg_sort",
       .doc = "The positions along `axis` in ascending order of their elements, or "
              "descending. NaN is greatest, -0 equals +0, subnormals are zero, and of "
              "equal elements the first comes first either way. sort and top_k gather "
              "what it gives, so that their gradients scatter.",
       .attributes = {along, {"descending", AttributeKind::boolean, "Greatest first.", false}},
       .infer = infer_sort,
       .compute = SortComputation{},
       .examples = {{{"f32[3,21]"}, "axis = 1"},
                    {{"f32[40,5]"}, "axis = 0, descending = true"},
                    {{"i32[9]"}, "axis = 0", -3, 3},
                    {{"u8[4,5]"}, "axis = 1, descending = true", 0, 4}}});
  return ops;
}

}  // namespace gradus::ir
