#pragma once

// Attention (Vaswani et al. 2017) and what tells positions apart.

#include <functional>
#include <optional>

#include "ir/expr.h"

namespace gradus::ir {

struct AttentionOptions {
  double scale = 1;     // of the scores
  bool causal = false;  // a query sees keys up to its own position
  /// bool [batch, keys]: which keys there are; all when absent.
  std::optional<Expr> keys = {};
  /// Applied to the weights, dropout for instance.
  std::function<Expr(Expr)> on_weights = {};
};

/// What every query takes of the values, [batch, queries, heads, value width], by the softmax over
/// keys of scale * (query · key). `query` is [batch, queries, heads, width], `key` [batch, keys,
/// groups, width] and `value` [batch, keys, groups, value width]; neighbouring heads / groups heads
/// share a group. A query that sees no key takes 0. Throws TypeError.
[[nodiscard]] Expr scaled_dot_product_attention(Expr query, Expr key, Expr value,
                                                const AttentionOptions& options);

/// By how much positions turn pairs: f32 [positions, width / 2] each.
struct Rotation {
  Expr sines;
  Expr cosines;
};
/// Position p turns pair i by p / base^(2 i / width) radians. `width` must be even.
[[nodiscard]] Rotation rotation(Graph& graph, std::int64_t positions, std::int64_t width,
                                double base);
/// x [batch, positions, heads, width] with every pair (i, i + width / 2) of the last axis turned
/// (Su et al. 2021, in the order of GPT-NeoX).
[[nodiscard]] Expr rotate_positions(Expr x, const Rotation& by);

/// [positions, width]: sin(p / base^(2 i / width)) for i < width / 2, then the cosines. The values
/// are f64 arithmetic of our own, rounded to f32. `width` must be even.
[[nodiscard]] Expr sinusoidal_positions(Graph& graph, std::int64_t positions, std::int64_t width,
                                        double base);

}  // namespace gradus::ir
