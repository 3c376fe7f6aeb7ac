#include <algorithm>

#include "ir/ops/families.h"
#include "ir/ops/stack_movement.h"

namespace gradus::ir {
namespace {

using Types = std::span<const TensorType>;

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

// --- broadcast ----------------------------------------------------------------------------------

std::vector<TensorType> infer_broadcast(const InferContext& context) {
  const TensorType& x = context.operands[0];
  const Integers& shape = context.attributes.get<Integers>("shape");
  const Integers& axes = context.attributes.get<Integers>("axes");
  check_length(axes, x.rank(), "axes");
  check_axes(axes, static_cast<std::int64_t>(shape.size()));
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (shape[at(axes[i])] != x.shape[i]) {
      throw TypeError("cannot broadcast " + to_string(x) + " to " + to_string(shape) +
                      " along axes " + to_string(axes));
    }
  }
  return {{x.element, shape}};
}
std::vector<IndexMap> broadcast_maps(Types, const TensorType&, const Attributes& attributes) {
  IndexMap map;
  for (std::int64_t axis : attributes.get<Integers>("axes")) map.push_back(along(axis));
  return {map};
}
Cotangents broadcast_vjp(const VjpContext& c) {
  const Integers& axes = c.attributes.get<Integers>("axes");
  Integers added;
  for (std::int64_t axis = 0; axis < c.y.rank(); ++axis) {
    if (std::find(axes.begin(), axes.end(), axis) == axes.end()) added.push_back(axis);
  }
  return {added.empty() ? c.dy : sum(c.dy, added)};
}

// --- reshape and transpose ----------------------------------------------------------------------

std::vector<TensorType> infer_reshape(const InferContext& context) {
  const TensorType& x = context.operands[0];
  const TensorType result{x.element, context.attributes.get<Integers>("shape")};
  if (result.element_count() != x.element_count()) {
    throw TypeError("cannot reshape " + to_string(x) + " to " + to_string(result.shape) + ": " +
                    std::to_string(x.element_count()) + " elements against " +
                    std::to_string(result.element_count()));
  }
  return {result};
}

std::vector<TensorType> infer_transpose(const InferContext& context) {
  const TensorType& x = context.operands[0];
  const Integers& permutation = context.attributes.get<Integers>("permutation");
  Integers sorted = permutation;
  std::sort(sorted.begin(), sorted.end());
  check_length(permutation, x.rank(), "permutation");
  check_axes(sorted, x.rank());
  TensorType result{x.element, {}};
  for (std::int64_t axis : permutation) result.shape.push_back(x.shape[at(axis)]);
  return {result};
}
Integers inverse(const Integers& permutation) {
  Integers result(permutation.size());
  for (std::size_t i = 0; i < permutation.size(); ++i) {
    result[at(permutation[i])] = static_cast<std::int64_t>(i);
  }
  return result;
}
std::vector<IndexMap> transpose_maps(Types, const TensorType&, const Attributes& attributes) {
  IndexMap map;
  for (std::int64_t axis : inverse(attributes.get<Integers>("permutation"))) {
    map.push_back(along(axis));
  }
  return {map};
}

// --- slice, pad, concat, reverse ----------------------------------------------------------------

std::vector<TensorType> infer_slice(const InferContext& context) {
  const TensorType& x = context.operands[0];
  const Integers& start = context.attributes.get<Integers>("start");
  const Integers& limit = context.attributes.get<Integers>("limit");
  const Integers& stride = context.attributes.get<Integers>("stride");
  check_length(start, x.rank(), "start");
  check_length(limit, x.rank(), "limit");
  check_length(stride, x.rank(), "stride");
  TensorType result{x.element, {}};
  for (std::size_t i = 0; i < start.size(); ++i) {
    if (start[i] < 0 || limit[i] < start[i] || limit[i] > x.shape[i] || stride[i] < 1) {
      throw TypeError("slice [" + std::to_string(start[i]) + ", " + std::to_string(limit[i]) +
                      ") by " + std::to_string(stride[i]) + " is not inside axis " +
                      std::to_string(i) + " of " + to_string(x));
    }
    const std::int64_t covered = limit[i] - start[i];
    result.shape.push_back(covered == 0 ? 0 : (covered - 1) / stride[i] + 1);
  }
  return {result};
}
std::vector<IndexMap> slice_maps(Types, const TensorType&, const Attributes& attributes) {
  const Integers& start = attributes.get<Integers>("start");
  const Integers& stride = attributes.get<Integers>("stride");
  IndexMap map;
  for (std::size_t i = 0; i < start.size(); ++i) {
    map.push_back(along(static_cast<std::int64_t>(i), stride[i], start[i]));
  }
  return {map};
}
Cotangents slice_vjp(const VjpContext& c) {
  const Integers& start = c.attributes.get<Integers>("start");
  const Integers& stride = c.attributes.get<Integers>("stride");
  Integers high;
  Integers interior;
  for (std::size_t i = 0; i < start.size(); ++i) {
    const std::int64_t extent = c.y.shape()[i];
    const std::int64_t covered = extent == 0 ? 0 : (extent - 1) * stride[i] + 1;
    high.push_back(c.x[0].shape()[i] - start[i] - covered);
    interior.push_back(stride[i] - 1);
  }
  return {pad(c.dy, constant(*c.dy.graph, c.dy.element(), 0), start, high, interior)};
}

std::vector<TensorType> infer_pad(const InferContext& context) {
  const TensorType& x = context.operands[0];
  if (context.operands[1] != TensorType{x.element, {}}) {
    throw TypeError("the padding value is " + to_string(TensorType{x.element, {}}) + ", found " +
                    to_string(context.operands[1]));
  }
  const Integers& low = context.attributes.get<Integers>("low");
  const Integers& high = context.attributes.get<Integers>("high");
  const Integers& interior = context.attributes.get<Integers>("interior");
  check_length(low, x.rank(), "low");
  check_length(high, x.rank(), "high");
  check_length(interior, x.rank(), "interior");
  TensorType result{x.element, {}};
  const auto bounded = [](std::int64_t n) {
    return n >= -kMaximumElements && n <= kMaximumElements;
  };
  for (std::size_t i = 0; i < low.size(); ++i) {
    const std::int64_t gaps = std::max<std::int64_t>(x.shape[i] - 1, 0);
    const bool counts = bounded(low[i]) && bounded(high[i]) && interior[i] >= 0 &&
                        interior[i] <= kMaximumElements / std::max<std::int64_t>(gaps, 1);
    const std::int64_t extent = counts ? low[i] + x.shape[i] + gaps * interior[i] + high[i] : -1;
    if (extent < 0) {
      throw TypeError("padding leaves no valid extent on axis " + std::to_string(i) + " of " +
                      to_string(x));
    }
    result.shape.push_back(extent);
  }
  return {result};
}
std::vector<IndexMap> pad_maps(Types, const TensorType&, const Attributes& attributes) {
  const Integers& low = attributes.get<Integers>("low");
  const Integers& interior = attributes.get<Integers>("interior");
  IndexMap map;
  for (std::size_t i = 0; i < low.size(); ++i) {
    map.push_back(along(static_cast<std::int64_t>(i), 1, -low[i], interior[i] + 1));
  }
  return {map, {}};
}
Cotangents pad_vjp(const VjpContext& c) {
  // Undo: crop or re-extend the borders, then take every (interior + 1)-th element.
  const Integers& low = c.attributes.get<Integers>("low");
  const Integers& high = c.attributes.get<Integers>("high");
  const Integers& interior = c.attributes.get<Integers>("interior");
  Integers minus_low;
  Integers minus_high;
  Integers stride;
  for (std::size_t i = 0; i < low.size(); ++i) {
    minus_low.push_back(-low[i]);
    minus_high.push_back(-high[i]);
    stride.push_back(interior[i] + 1);
  }
  const Expr zero = constant(*c.dy.graph, c.dy.element(), 0);
  const Expr uncut = pad(c.dy, zero, minus_low, minus_high, Integers(low.size(), 0));
  const Expr dx = slice(uncut, Integers(low.size(), 0), uncut.shape(), stride);
  return {dx, sum_all(c.dy) - sum_all(dx)};
}

std::vector<TensorType> infer_concat(const InferContext& context) {
  const std::int64_t axis = context.attributes.get<std::int64_t>("axis");
  TensorType result = context.operands[0];
  if (axis < 0 || axis >= result.rank())
    throw TypeError("concat has no axis " + std::to_string(axis));
  result.shape[at(axis)] = 0;
  for (const TensorType& operand : context.operands) {
    TensorType rest = operand;
    if (operand.rank() == result.rank()) rest.shape[at(axis)] = result.shape[at(axis)];
    if (rest != result) {
      throw TypeError("cannot concatenate " + to_string(context.operands[0]) + " and " +
                      to_string(operand) + " along axis " + std::to_string(axis));
    }
    result.shape[at(axis)] += operand.shape[at(axis)];
  }
  return {result};
}
std::vector<IndexMap> concat_maps(Types operands, const TensorType& result,
                                  const Attributes& attributes) {
  const std::int64_t axis = attributes.get<std::int64_t>("axis");
  std::vector<IndexMap> maps;
  std::int64_t offset = 0;
  for (const TensorType& operand : operands) {
    IndexMap& map = maps.emplace_back();
    for (std::int64_t i = 0; i < result.rank(); ++i)
      map.push_back(along(i, 1, i == axis ? -offset : 0));
    offset += operand.shape[at(axis)];
  }
  return maps;
}
Cotangents concat_vjp(const VjpContext& c) {
  const std::int64_t axis = c.attributes.get<std::int64_t>("axis");
  Cotangents result;
  std::int64_t offset = 0;
  for (Expr x : c.x) {
    Integers start(x.shape().size(), 0);
    Integers limit = c.y.shape();
    start[at(axis)] = offset;
    offset += x.shape()[at(axis)];
    limit[at(axis)] = offset;
    result.push_back(slice(c.dy, start, limit, Integers(start.size(), 1)));
  }
  return result;
}

std::vector<TensorType> infer_reverse(const InferContext& context) {
  check_axes(context.attributes.get<Integers>("axes"), context.operands[0].rank());
  return {context.operands[0]};
}
std::vector<IndexMap> reverse_maps(Types, const TensorType& result, const Attributes& attributes) {
  const Integers& axes = attributes.get<Integers>("axes");
  IndexMap map;
  for (std::int64_t i = 0; i < result.rank(); ++i) {
    const bool reversed = std::find(axes.begin(), axes.end(), i) != axes.end();
    map.push_back(reversed ? along(i, -1, result.shape[at(i)] - 1) : along(i));
  }
  return {map};
}

// --- interleave ---------------------------------------------------------------------------------

std::vector<TensorType> infer_interleave(const InferContext& context) {
  std::vector<TensorType> result = infer_concat(context);
  const std::int64_t axis = context.attributes.get<std::int64_t>("axis");
  const auto count = static_cast<std::int64_t>(context.operands.size());
  const std::int64_t extent = result[0].shape[at(axis)];
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t wanted = (extent - i + count - 1) / count;
    if (context.operands[at(i)].shape[at(axis)] != wanted) {
      throw TypeError("to interleave " + std::to_string(extent) + " elements, operand " +
                      std::to_string(i) + " has " + std::to_string(wanted) + " of them, found " +
                      to_string(context.operands[at(i)]));
    }
  }
  return result;
}
std::vector<IndexMap> interleave_maps(Types operands, const TensorType& result,
                                      const Attributes& attributes) {
  const std::int64_t axis = attributes.get<std::int64_t>("axis");
  const auto count = static_cast<std::int64_t>(operands.size());
  std::vector<IndexMap> maps;
  for (std::int64_t i = 0; i < count; ++i) {
    IndexMap& map = maps.emplace_back();
    for (std::int64_t a = 0; a < result.rank(); ++a) {
      map.push_back(a == axis ? along(a, 1, -i, count) : along(a));
    }
  }
  return maps;
}
Cotangents interleave_vjp(const VjpContext& c) {
  const std::int64_t axis = c.attributes.get<std::int64_t>("axis");
  Cotangents result;
  for (std::size_t i = 0; i < c.x.size(); ++i) {
    Integers start(c.y.shape().size(), 0);
    Integers stride(c.y.shape().size(), 1);
    start[at(axis)] = std::min<std::int64_t>(static_cast<std::int64_t>(i), c.y.shape()[at(axis)]);
    stride[at(axis)] = static_cast<std::int64_t>(c.x.size());
    result.push_back(slice(c.dy, start, c.y.shape(), stride));
  }
  return result;
}

}  // namespace

std::vector<OpRecord> movement_ops() {
  const auto list = [](std::string_view name, std::string_view doc) {
    return AttributeSpec{name, AttributeKind::integers, doc};
  };
  std::vector<OpRecord> ops;
  ops.push_back({.name = "broadcast",
                 .doc = "Repeats x: result axis axes[i] is x's axis i.",
                 .attributes = {list("shape", "Shape of the result."), list("axes", "Ascending.")},
                 .infer = infer_broadcast,
                 .vjp = broadcast_vjp,
                 .compute = MovementComputation{broadcast_maps},
                 .smooth = true,
                 .stack = stack_broadcast,
                 .additive = true,
                 .examples = {{{"f32[5]"}, "shape = [3,5], axes = [1]"},
                              {{"f64[3]"}, "shape = [3,20], axes = [0]"},
                              {{"i32[]"}, "shape = [4], axes = []"}}});
  ops.push_back(
      {.name = "reshape",
       .doc = "The same elements in row-major order under another shape.",
       .attributes = {list("shape", "Shape of the result.")},
       .infer = infer_reshape,
       .vjp = [](const VjpContext& c) { return Cotangents{reshape(c.dy, c.x[0].shape())}; },
       .compute = ViewComputation{},
       .smooth = true,
       .stack = stack_reshape,
       .additive = true,
       .examples = {{{"f32[6,5]"}, "shape = [3,10]"},
                    {{"f64[3,1]"}, "shape = [1,3]"},
                    {{"f32[12]"}, "shape = [2,3,2]"}}});
  ops.push_back({.name = "transpose",
                 .doc = "Permutes axes: result axis i is x's axis permutation[i].",
                 .attributes = {list("permutation", "A permutation of x's axes.")},
                 .infer = infer_transpose,
                 .vjp =
                     [](const VjpContext& c) {
                       return Cotangents{
                           transpose(c.dy, inverse(c.attributes.get<Integers>("permutation")))};
                     },
                 .compute = MovementComputation{transpose_maps},
                 .smooth = true,
                 .stack = stack_transpose,
                 .additive = true,
                 .examples = {{{"f32[3,5]"}, "permutation = [1,0]"},
                              {{"f64[2,3,4]"}, "permutation = [2,0,1]"}}});
  ops.push_back({.name = "slice",
                 .doc = "Elements start, start + stride, ... below limit on every axis.",
                 .attributes = {list("start", "First element."), list("limit", "End."),
                                list("stride", "At least 1.")},
                 .infer = infer_slice,
                 .vjp = slice_vjp,
                 .compute = MovementComputation{slice_maps},
                 .smooth = true,
                 .stack = stack_slice,
                 .additive = true,
                 .examples = {{{"f32[6,20]"}, "start = [1,2], limit = [5,19], stride = [2,1]"},
                              {{"f64[9]"}, "start = [0], limit = [9], stride = [4]"}}});
  ops.push_back(
      {.name = "pad",
       .doc = "Puts low and high elements at the borders and interior ones between "
              "neighbours; negative borders crop.",
       .least_operands = 2,
       .most_operands = 2,
       .attributes = {list("low", "Before the first."), list("high", "After the last."),
                      list("interior", "Between neighbours.")},
       .infer = infer_pad,
       .vjp = pad_vjp,
       .compute = MovementComputation{pad_maps},
       .smooth = true,
       .additive = true,
       .examples = {{{"f32[2,3]", "f32[]"}, "low = [1,0], high = [0,2], interior = [0,0]"},
                    {{"f64[5]", "f64[]"}, "low = [-1], high = [2], interior = [2]"},
                    {{"f32[3,20]", "f32[]"}, "low = [0,-2], high = [1,-3], interior = [1,0]"}}});
  ops.push_back({.name = "concat",
                 .doc = "Puts the operands one after another along an axis.",
                 .least_operands = 1,
                 .most_operands = -1,
                 .attributes = {{"axis", AttributeKind::integer, "The axis that grows."}},
                 .infer = infer_concat,
                 .vjp = concat_vjp,
                 .compute = MovementComputation{concat_maps},
                 .smooth = true,
                 .additive = true,
                 .examples = {{{"f32[2,3]", "f32[2,20]", "f32[2,1]"}, "axis = 1"},
                              {{"f64[2,3]", "f64[1,3]"}, "axis = 0"}}});
  ops.push_back({.name = "reverse",
                 .doc = "Reverses the order along the axes.",
                 .attributes = {list("axes", "Ascending.")},
                 .infer = infer_reverse,
                 .vjp =
                     [](const VjpContext& c) {
                       return Cotangents{reverse(c.dy, c.attributes.get<Integers>("axes"))};
                     },
                 .compute = MovementComputation{reverse_maps},
                 .smooth = true,
                 .stack = stack_reverse,
                 .additive = true,
                 .examples = {{{"f32[3,20]"}, "axes = [1]"}, {{"f64[3,5]"}, "axes = [0,1]"}}});
  ops.push_back({.name = "interleave",
                 .doc = "Takes elements from the operands in turn along an axis.",
                 .least_operands = 1,
                 .most_operands = -1,
                 .attributes = {{"axis", AttributeKind::integer, "The axis that grows."}},
                 .infer = infer_interleave,
                 .vjp = interleave_vjp,
                 .compute = MovementComputation{interleave_maps},
                 .smooth = true,
                 .examples = {{{"f32[2,9]", "f32[2,9]"}, "axis = 1"},
                              {{"f64[2,3]", "f64[2,3]", "f64[1,3]"}, "axis = 0"}}});
  return ops;
}

}  // namespace gradus::ir
