#pragma once

#include <cstdint>
#include <utility>

#include "ir/expr.h"
#include "ir/op.h"

namespace gradus::codegen {

/// Attention of queries [matrices, positions, width] to inputs q, k and v of `keys` positions, the
/// values 12 wide.
inline ir::Expr attention(ir::Graph& g, const Shape& queries, std::int64_t keys, double scale) {
  const auto operand = [&](const char* name, Shape shape) {
    const TensorType type{ElementType::f32, std::move(shape)};
    return ir::Expr{&g, g.add_input(name, ir::InputKind::batch, type)};
  };
  const ir::Expr q = operand("q", queries);
  const ir::Expr k = operand("k", {queries[0], keys, queries[2]});
  const ir::Expr v = operand("v", {queries[0], keys, 12});
  const ir::Expr scores = ir::dot(q, k, {{0}, {0}, {2}, {2}}) * scale;
  const ir::Expr top =
      ir::broadcast_reduced(ir::reduce("reduce_max", scores, {2}), scores.shape(), {2});
  const ir::Expr e = ir::map("exp", scores - top);
  const ir::Expr weights = e / ir::broadcast_reduced(ir::sum(e, {2}), e.shape(), {2});
  return ir::dot(weights, v, {{0}, {0}, {2}, {1}});
}

}  // namespace gradus::codegen
