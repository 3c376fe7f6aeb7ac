#pragma once

// The exact rewrites that bring a step graph into the form that fusion and schedules work on.
// None changes a bit of any result.

#include "ir/graph.h"

namespace gradus::passes {

/// Leaves out stop_gradient, which only differentiation sees.
[[nodiscard]] ir::Graph drop_stop_gradients(const ir::Graph& graph);

/// A contraction with fewer than ir::kSmallContraction results per batch element becomes what it is
/// defined as: the sum over the product tensor [batch, lhs free, rhs free, contracted]. So does one
/// of integers, where no order of additions shows.
[[nodiscard]] ir::Graph expand_small_contractions(const ir::Graph& graph);

/// Every other contraction becomes one with its batch axes in front, one m, one n and one k axis:
/// several of these are merged by reshape, after a transpose where they do not lie together.
[[nodiscard]] ir::Graph canonicalize_contractions(const ir::Graph& graph);

/// A contraction of several parts and few outputs becomes combine(dot_parts), whose parts are
/// tasks.
[[nodiscard]] ir::Graph split_contractions(const ir::Graph& graph);

/// A sum of several blocks becomes combine(block_sum).
[[nodiscard]] ir::Graph split_sums(const ir::Graph& graph);

}  // namespace gradus::passes
