#include <algorithm>
#include <array>

#include "ir/half_plane.h"
#include "ir/ops/families.h"
#include "ir/order.h"

namespace gradus::ir {
namespace {

bool contains(const Integers& axes, std::int64_t axis) {
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}
std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

Integers free_axes(std::int64_t rank, const Integers& batch, const Integers& contract) {
  Integers free;
  for (std::int64_t axis = 0; axis < rank; ++axis) {
    if (!contains(batch, axis) && !contains(contract, axis)) free.push_back(axis);
  }
  return free;
}

DotAxes axes_of(const Attributes& attributes) {
  return {attributes.get<Integers>("lhs_batch"), attributes.get<Integers>("rhs_batch"),
          attributes.get<Integers>("lhs_contract"), attributes.get<Integers>("rhs_contract")};
}

void check_side(const TensorType& type, const Integers& batch, const Integers& contract) {
  Integers all = batch;
  all.insert(all.end(), contract.begin(), contract.end());
  std::sort(all.begin(), all.end());
  check_axes(all, type.rank());
}

/// Half-planes are of matrices, one for each index of the batch.
void check_half_plane(const InferContext& context, const DotAxes& axes) {
  if (!half_plane(context.attributes)) return;
  const auto is_matrix = [](const TensorType& type, const Integers& batch,
                            const Integers& contract) {
    return contract.size() == 1 && free_axes(type.rank(), batch, contract).size() == 1;
  };
  if (!is_matrix(context.operands[0], axes.lhs_batch, axes.lhs_contract) ||
      !is_matrix(context.operands[1], axes.rhs_batch, axes.rhs_contract)) {
    throw TypeError("half_plane needs one free and one contracted axis on both sides, found " +
                    to_string(context.operands[0]) + " and " + to_string(context.operands[1]));
  }
}

std::vector<TensorType> infer_dot(const InferContext& context) {
  const TensorType& lhs = context.operands[0];
  const TensorType& rhs = context.operands[1];
  const DotAxes axes = axes_of(context.attributes);
  if (lhs.element != rhs.element || lhs.element == ElementType::boolean) {
    throw TypeError("dot needs two operands of one number type, found " + to_string(lhs) + " and " +
                    to_string(rhs));
  }
  const PartRule rule = part_rule(context.attributes);
  if (rule.unit < 1 || rule.chain < 1) {
    throw TypeError("part_unit and part_chain are at least 1");
  }
  check_side(lhs, axes.lhs_batch, axes.lhs_contract);
  check_side(rhs, axes.rhs_batch, axes.rhs_contract);
  const auto match = [&](const Integers& a, const Integers& b, std::string_view what) {
    bool same = a.size() == b.size();
    for (std::size_t i = 0; same && i < a.size(); ++i) {
      same = lhs.shape[at(a[i])] == rhs.shape[at(b[i])];
    }
    if (!same) {
      throw TypeError(std::string(what) + " axes " + to_string(a) + " of " + to_string(lhs) +
                      " do not match " + to_string(b) + " of " + to_string(rhs));
    }
  };
  match(axes.lhs_batch, axes.rhs_batch, "batch");
  match(axes.lhs_contract, axes.rhs_contract, "contracted");
  check_half_plane(context, axes);
  TensorType result{lhs.element, {}};
  for (std::int64_t axis : axes.lhs_batch) result.shape.push_back(lhs.shape[at(axis)]);
  for (std::int64_t axis : free_axes(lhs.rank(), axes.lhs_batch, axes.lhs_contract)) {
    result.shape.push_back(lhs.shape[at(axis)]);
  }
  for (std::int64_t axis : free_axes(rhs.rank(), axes.rhs_batch, axes.rhs_contract)) {
    result.shape.push_back(rhs.shape[at(axis)]);
  }
  return {result};
}

std::vector<TensorType> infer_dot_parts(const InferContext& context) {
  TensorType result = infer_dot(context)[0];
  if (!is_float(result.element)) {
    throw TypeError("dot_parts needs f32 or f64, found " + to_string(context.operands[0]));
  }
  Shape extents;
  for (std::int64_t axis : context.attributes.get<Integers>("lhs_contract")) {
    extents.push_back(context.operands[0].shape[at(axis)]);
  }
  const PartRule rule = part_rule(context.attributes);
  result.shape.insert(result.shape.begin(), contraction_order(extents, rule).parts.count);
  return {result};
}

Integers range(std::size_t first, std::size_t count) {
  Integers result;
  for (std::size_t i = 0; i < count; ++i) result.push_back(static_cast<std::int64_t>(first + i));
  return result;
}

/// Brings a cotangent with axes batch, free, contracted (in `other`'s ascending order of its
/// partners) to the operand's own axis order.
Expr to_operand(Expr d, const Integers& batch, const Integers& free, const Integers& contract,
                const Integers& other_contract) {
  // The other operand's free axes come in ascending order of the other operand: find ours.
  Integers sorted = other_contract;
  std::sort(sorted.begin(), sorted.end());
  Integers order = batch;
  order.insert(order.end(), free.begin(), free.end());
  for (std::int64_t axis : sorted) {
    const auto i = std::find(other_contract.begin(), other_contract.end(), axis);
    order.push_back(contract[static_cast<std::size_t>(i - other_contract.begin())]);
  }
  Integers permutation(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    permutation[at(order[i])] = static_cast<std::int64_t>(i);
  }
  if (std::is_sorted(permutation.begin(), permutation.end())) return d;
  return transpose(d, permutation);
}

Cotangents dot_vjp(const VjpContext& c) {
  const DotAxes axes = axes_of(c.attributes);
  const Integers lhs_free = free_axes(c.x[0].rank(), axes.lhs_batch, axes.lhs_contract);
  const Integers rhs_free = free_axes(c.x[1].rank(), axes.rhs_batch, axes.rhs_contract);
  const std::size_t batches = axes.lhs_batch.size();
  const Integers batch = range(0, batches);
  const Integers lhs_in_y = range(batches, lhs_free.size());
  const Integers rhs_in_y = range(batches + lhs_free.size(), rhs_free.size());
  std::optional<HalfPlane> of_lhs = half_plane(c.attributes);
  std::optional<HalfPlane> of_rhs = of_lhs;
  using enum MatrixAxis;
  if (of_lhs) of_lhs = of_lhs->renamed(row, contracted, column);
  if (of_rhs) of_rhs = of_rhs->renamed(contracted, column, row);
  // dlhs[b, m, k] = sum over n of dy[b, m, n] rhs[b, k, n]
  const Expr dlhs = dot(c.dy, c.x[1], {batch, axes.rhs_batch, rhs_in_y, rhs_free}, {}, of_lhs);
  // drhs[b, k, n] = sum over m of lhs[b, m, k] dy[b, m, n]: axes b, k (lhs order), n
  const Expr drhs = dot(c.x[0], c.dy, {axes.lhs_batch, batch, lhs_free, lhs_in_y}, {}, of_rhs);
  Integers sorted = axes.lhs_contract;
  std::sort(sorted.begin(), sorted.end());
  Integers order = axes.rhs_batch;
  for (std::int64_t axis : sorted) {
    const auto i = std::find(axes.lhs_contract.begin(), axes.lhs_contract.end(), axis);
    order.push_back(axes.rhs_contract[static_cast<std::size_t>(i - axes.lhs_contract.begin())]);
  }
  order.insert(order.end(), rhs_free.begin(), rhs_free.end());
  Integers permutation(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    permutation[at(order[i])] = static_cast<std::int64_t>(i);
  }
  const bool identity = std::is_sorted(permutation.begin(), permutation.end());
  return {to_operand(dlhs, axes.lhs_batch, lhs_free, axes.lhs_contract, axes.rhs_contract),
          identity ? drhs : transpose(drhs, permutation)};
}

/// A stack of one operand has one free axis more; of both, one batch axis. Half-planes are of
/// matrices with a single free axis: the other operand becomes a stack too.
Expr stack_dot(const StackContext& c) {
  const std::optional<HalfPlane> counted = half_plane(c.attributes);
  if (counted && !(c.stacked[0] && c.stacked[1])) {
    const std::size_t other = c.stacked[0] ? 1 : 0;
    std::array<Expr, 2> x{c.x[0], c.x[1]};
    Shape shape = x[other].shape();
    const Integers places = range(1, shape.size());
    shape.insert(shape.begin(), x[1 - other].shape()[0]);
    x[other] = broadcast(x[other], std::move(shape), places);
    constexpr std::array<bool, 2> kBoth{true, true};
    return stack_dot({x, kBoth, c.result, c.attributes});
  }
  DotAxes axes = axes_of(c.attributes);
  const auto batch = static_cast<std::int64_t>(axes.lhs_batch.size());
  std::int64_t place = batch;  // of the stack axis in the result
  if (c.stacked[0]) {
    axes.lhs_batch = behind_stack_axis(axes.lhs_batch);
    axes.lhs_contract = behind_stack_axis(axes.lhs_contract);
  } else {
    place = c.x[0].rank() - static_cast<std::int64_t>(axes.lhs_contract.size());
  }
  if (c.stacked[1]) {
    axes.rhs_batch = behind_stack_axis(axes.rhs_batch);
    axes.rhs_contract = behind_stack_axis(axes.rhs_contract);
  }
  if (c.stacked[0] && c.stacked[1]) {
    axes.lhs_batch.insert(axes.lhs_batch.begin(), 0);
    axes.rhs_batch.insert(axes.rhs_batch.begin(), 0);
    place = 0;
  }
  const Expr result = dot(c.x[0], c.x[1], axes, part_rule(c.attributes), counted);
  Integers permutation{place};
  for (std::int64_t axis = 0; axis < result.rank(); ++axis) {
    if (axis != place) permutation.push_back(axis);
  }
  return transpose(result, permutation);
}

/// The stack axes are contracted first. With a half-plane the results are added as they are.
Expr stack_sum_of_dots(const StackContext& c) {
  if (half_plane(c.attributes)) return sum(stack_dot(c), {0});
  DotAxes axes = axes_of(c.attributes);
  for (Integers* list :
       {&axes.lhs_batch, &axes.rhs_batch, &axes.lhs_contract, &axes.rhs_contract}) {
    *list = behind_stack_axis(*list);
  }
  axes.lhs_contract.insert(axes.lhs_contract.begin(), 0);
  axes.rhs_contract.insert(axes.rhs_contract.begin(), 0);
  return dot(c.x[0], c.x[1], axes);
}

}  // namespace

std::vector<OpRecord> contraction_ops() {
  const auto list = [](std::string_view name, std::string_view doc) {
    return AttributeSpec{name, AttributeKind::integers, doc, Attribute(Integers{})};
  };
  std::vector<OpRecord> ops;
  ops.push_back(
      {.name = "dot",
       .doc = "Sum of products over the contracted axes, for every batch index. The result has the "
              "batch axes, lhs's free axes, rhs's free axes. One chain of fma per part "
              "(ir/order.h); with fewer than 64 results per batch element the sum of the products. "
              "What a half-plane does not admit is left out of the chains, and +0 in that sum.",
       .least_operands = 2,
       .most_operands = 2,
       .attributes =
           {list("lhs_batch", "Batch axes of lhs."),
            list("rhs_batch", "Of rhs."),
            list("lhs_contract", "Contracted axes of lhs, outermost first."),
            list("rhs_contract", "Of rhs, in the same order."),
            list("half_plane",
                 "[low, high, offset]: only products with index(low) <= index(high) + "
                 "offset count. 0 is lhs's free axis, 1 rhs's, 2 the contracted one; there "
                 "is one of each. Empty: all count."),
            {"part_unit", AttributeKind::integer,
             "Positions of the first contracted axis that parts keep together.",
             Attribute(std::int64_t{1})},
            {"part_chain", AttributeKind::integer, "The longest chain that is not cut into parts.",
             Attribute(PartRule{}.chain)},
            {"copy", AttributeKind::integer,
             "Tells nodes apart that make the same value at several times.",
             Attribute(std::int64_t{0})}},
       .infer = infer_dot,
       .vjp = dot_vjp,
       .compute = ContractionComputation{},
       .smooth = true,
       .stack = stack_dot,
       .stack_sum = stack_sum_of_dots,
       .examples = {{{"f32[9,5]", "f32[5,20]"}, "lhs_contract = [1], rhs_contract = [0]"},
                    {{"f32[5,9]", "f32[20,5]"}, "lhs_contract = [0], rhs_contract = [1]"},
                    {{"f64[2,3]", "f64[3,4]"}, "lhs_contract = [1], rhs_contract = [0]"},
                    {{"f64[3,2,5]", "f64[5,3,7]"},
                     "lhs_batch = [0], rhs_batch = [1], lhs_contract = [2], rhs_contract = [0]"},
                    {{"f32[4,3,5]", "f32[5,40,3]"}, "lhs_contract = [2,1], rhs_contract = [0,2]"},
                    {{"i32[9,5]", "i32[5,20]"}, "lhs_contract = [1], rhs_contract = [0]"},
                    {{"f32[2,9,5]", "f32[2,11,5]"},
                     "lhs_batch = [0], rhs_batch = [0], lhs_contract = [2], rhs_contract = [2], "
                     "half_plane = [1,0,-1]"},
                    {{"f64[9,12]", "f64[12,8]"},
                     "lhs_contract = [1], rhs_contract = [0], half_plane = [2,0,2]"},
                    {{"f64[12,9]", "f64[10,12]"},
                     "lhs_contract = [0], rhs_contract = [1], half_plane = [1,2,0]"},
                    {{"f64[2,6]", "f64[6,5]"},
                     "lhs_contract = [1], rhs_contract = [0], half_plane = [0,2,-1]"}}});
  OpRecord parts = ops.back();
  parts.name = "dot_parts";
  parts.doc =
      "The parts of `dot` (ir/order.h), each one chain of fma: result axis 0 counts them. A "
      "primitive "
      "because fusion must know where tasks may be cut.";
  parts.infer = infer_dot_parts;
  parts.vjp = nullptr;
  parts.compute = ContractionComputation{.parts = true};
  parts.smooth = false;
  parts.stack = nullptr;
  parts.stack_sum = nullptr;
  parts.examples = {
      {{"f32[9,2100]", "f32[2100,20]"}, "lhs_contract = [1], rhs_contract = [0]"},
      {{"f32[5,3,700]", "f32[3,700,17]"}, "lhs_contract = [1,2], rhs_contract = [0,1]"},
      {{"f64[2,1500,3]", "f64[1500,2,4]"},
       "lhs_batch = [0], rhs_batch = [1], lhs_contract = [1], rhs_contract = [0], "
       "part_unit = 100"},
      {{"f32[6,40,9]", "f32[6,40,8]"},
       "lhs_contract = [0,1], rhs_contract = [0,1], part_chain = 50"},
      {{"f32[70,90]", "f32[90,17]"},
       "lhs_contract = [1], rhs_contract = [0], part_chain = 30, half_plane = [2,0,3]"}};
  ops.push_back(std::move(parts));
  return ops;
}

}  // namespace gradus::ir
