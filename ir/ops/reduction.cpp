#include <algorithm>

#include "ir/ops/families.h"
#include "ir/order.h"

namespace gradus::ir {
namespace {

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

Shape kept_shape(const InferContext& context) {
  const TensorType& x = context.operands[0];
  const Integers& axes = context.attributes.get<Integers>("axes");
  check_axes(axes, x.rank());
  if (axes.empty()) throw TypeError("a reduction needs an axis to reduce");
  Shape shape;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    if (std::find(axes.begin(), axes.end(), axis) == axes.end()) {
      shape.push_back(x.shape[at(axis)]);
    }
  }
  return shape;
}

std::vector<TensorType> infer_reduction(const InferContext& context) {
  if (context.operands[0].element == ElementType::boolean) {
    throw TypeError("needs numbers, found " + to_string(context.operands[0]));
  }
  return {{context.operands[0].element, kept_shape(context)}};
}

/// As infer_reduction, with something to choose from.
std::vector<TensorType> infer_extremum(const InferContext& context) {
  std::vector<TensorType> types = infer_reduction(context);
  for (std::int64_t axis : context.attributes.get<Integers>("axes")) {
    if (context.operands[0].shape[at(axis)] == 0) {
      throw TypeError("no greatest or least element along an axis of extent 0 of " +
                      to_string(context.operands[0]));
    }
  }
  return types;
}

std::vector<TensorType> infer_position(const InferContext& context) {
  return {{ElementType::i32, infer_extremum(context)[0].shape}};
}

std::vector<TensorType> infer_logical(const InferContext& context) {
  if (context.operands[0].element != ElementType::boolean) {
    throw TypeError("needs bool, found " + to_string(context.operands[0]));
  }
  return {{ElementType::boolean, kept_shape(context)}};
}

std::vector<TensorType> infer_block_sum(const InferContext& context) {
  TensorType result = infer_reduction(context)[0];
  const SumOrder order =
      sum_order(context.operands[0].shape, context.attributes.get<Integers>("axes"));
  result.shape.insert(result.shape.begin(), order.blocks.count);
  return {result};
}

std::vector<TensorType> infer_combine(const InferContext& context) {
  const TensorType& x = context.operands[0];
  if (x.rank() == 0 || x.element == ElementType::boolean) {
    throw TypeError("combine needs numbers with an axis of blocks, found " + to_string(x));
  }
  return {{x.element, Shape(x.shape.begin() + 1, x.shape.end())}};
}

Cotangents vjp_sum(const VjpContext& c) {
  return {broadcast_reduced(c.dy, c.x[0].shape(), c.attributes.get<Integers>("axes"))};
}

Cotangents vjp_combine(const VjpContext& c) {
  return {broadcast_reduced(c.dy, c.x[0].shape(), {0})};
}

/// Each block's cotangent goes to the positions of the block.
Cotangents vjp_block_sum(const VjpContext& c) {
  const Expr x = c.x[0];
  const Integers& axes = c.attributes.get<Integers>("axes");
  const SumOrder order = sum_order(x.shape(), axes);
  std::vector<Expr> pieces;
  for (std::int64_t block = 0; block < order.blocks.count; ++block) {
    Integers start(at(c.dy.rank()), 0);
    Integers limit = c.dy.shape();
    start[0] = block;
    limit[0] = block + 1;
    const Expr one = slice(c.dy, start, limit, Integers(start.size(), 1));
    const Expr kept = reshape(one, Shape(c.dy.shape().begin() + 1, c.dy.shape().end()));
    Shape shape = x.shape();
    shape[at(order.block_axis)] = order.blocks(block).size();
    pieces.push_back(broadcast_reduced(kept, shape, axes));
  }
  return {concat(pieces, order.block_axis)};
}

/// The first extremal element, row-major over the reduced axes, takes the cotangent.
Cotangents vjp_extremum(const VjpContext& c, std::string_view position) {
  const Expr x = c.x[0];
  const Integers& axes = c.attributes.get<Integers>("axes");
  const Expr first = apply(position, {x}, {{"axes", axes}});
  const Expr wanted = broadcast_reduced(first, x.shape(), axes);
  Graph& graph = *x.graph;
  Expr index = full(graph, {ElementType::i32, x.shape()}, 0);
  for (std::int64_t axis : axes) {
    const NodeId iota = graph.add(
        op("iota"), {}, {{"element", ElementType::i32}, {"shape", x.shape()}, {"axis", axis}});
    index = index * static_cast<double>(x.shape()[at(axis)]) + Expr{&graph, {iota, 0}};
  }
  return {select(map("equal", index, wanted), broadcast_reduced(c.dy, x.shape(), axes),
                 full_like(x, 0))};
}

Expr stack_reduction(std::string_view name, const StackContext& c) {
  return reduce(name, c.x[0], behind_stack_axis(c.attributes.get<Integers>("axes")));
}

Expr stack_sum_of_sums(const StackContext& c) {
  Integers axes = behind_stack_axis(c.attributes.get<Integers>("axes"));
  axes.insert(axes.begin(), 0);
  return sum(c.x[0], axes);
}

}  // namespace

std::vector<OpRecord> reduction_ops() {
  const AttributeSpec axes{"axes", AttributeKind::integers, "Reduced axes, ascending."};
  const std::vector<OpExample> numbers{
      {{"f32[3,21]"}, "axes = [1]"},    {{"f32[70,5]"}, "axes = [0]"},
      {{"f64[2,3,4]"}, "axes = [0,2]"}, {{"f32[40,3,17]"}, "axes = [0,1,2]"},
      {{"i32[3,4]"}, "axes = [1]"},     {{"f32[9]"}, "axes = [0]"}};
  std::vector<OpExample> sums = numbers;
  sums.push_back({{"f32[0,3]"}, "axes = [0]"});
  std::vector<OpRecord> ops;
  ops.push_back({.name = "sum",
                 .doc = "Sum over axes, in the order of ir/order.h.",
                 .attributes = {axes},
                 .infer = infer_reduction,
                 .vjp = vjp_sum,
                 .compute = ReductionComputation{ReductionKind::sum},
                 .smooth = true,
                 .stack = [](const StackContext& c) { return stack_reduction("sum", c); },
                 .stack_sum = stack_sum_of_sums,
                 .examples = sums});
  ops.push_back({.name = "reduce_max",
                 .doc = "Greatest element over axes; NaN wins, -0 < +0. The first greatest takes "
                        "the cotangent.",
                 .attributes = {axes},
                 .infer = infer_extremum,
                 .vjp = [](const VjpContext& c) { return vjp_extremum(c, "arg_max"); },
                 .compute = ReductionComputation{ReductionKind::max},
                 .stack = [](const StackContext& c) { return stack_reduction("reduce_max", c); },
                 .examples = numbers});
  ops.push_back({.name = "reduce_min",
                 .doc = "Least element over axes; NaN wins, -0 < +0. The first least takes the "
                        "cotangent.",
                 .attributes = {axes},
                 .infer = infer_extremum,
                 .vjp = [](const VjpContext& c) { return vjp_extremum(c, "arg_min"); },
                 .compute = ReductionComputation{ReductionKind::min},
                 .stack = [](const StackContext& c) { return stack_reduction("reduce_min", c); },
                 .examples = numbers});
  ops.push_back({.name = "arg_max",
                 .doc = "Position of the first greatest element, row-major over the axes; NaN is "
                        "greatest.",
                 .attributes = {axes},
                 .infer = infer_position,
                 .compute = ReductionComputation{ReductionKind::arg_max},
                 .examples = numbers});
  ops.push_back(
      {.name = "arg_min",
       .doc = "Position of the first least element, row-major over the axes; NaN is least.",
       .attributes = {axes},
       .infer = infer_position,
       .compute = ReductionComputation{ReductionKind::arg_min},
       .examples = numbers});
  const std::vector<OpExample> logical{{{"bool[3,21]"}, "axes = [1]"},
                                       {{"bool[7,3]"}, "axes = [0]"}};
  ops.push_back({.name = "any",
                 .doc = "True where some element is true.",
                 .attributes = {axes},
                 .infer = infer_logical,
                 .compute = ReductionComputation{ReductionKind::any},
                 .examples = logical});
  ops.push_back({.name = "all",
                 .doc = "True where every element is true.",
                 .attributes = {axes},
                 .infer = infer_logical,
                 .compute = ReductionComputation{ReductionKind::all},
                 .examples = logical});
  ops.push_back({.name = "block_sum",
                 .doc = "The block sums of `sum` (ir/order.h): result axis 0 counts the blocks. A "
                        "primitive because fusion must know where tasks may be cut.",
                 .attributes = {axes},
                 .infer = infer_block_sum,
                 .vjp = vjp_block_sum,
                 .compute = BlockSumComputation{},
                 .smooth = true,
                 .examples = {{{"f32[70,5]"}, "axes = [0]"},
                              {{"f64[70,3]"}, "axes = [0,1]"},
                              {{"f32[40,2,17]"}, "axes = [0,2]"}}});
  ops.push_back({.name = "combine",
                 .doc = "Adds along axis 0 in order, one chain per element: completes block_sum.",
                 .infer = infer_combine,
                 .vjp = vjp_combine,
                 .compute = CombineComputation{},
                 .smooth = true,
                 .examples = {{{"f32[4,5]"}}, {{"f64[9]"}}}});
  return ops;
}

}  // namespace gradus::ir
