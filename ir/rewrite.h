#pragma once

#include <functional>
#include <optional>
#include <span>

#include "ir/expr.h"
#include "ir/graph.h"

namespace gradus::ir {

/// A node of the old graph with its operands in the new one.
struct RewriteContext {
  const Graph& from;
  NodeId id;
  const Node& node;
  std::span<const Expr> operands;
  Graph& to;
};

/// Copies the live part of `graph` in order. `replace` may give another value for a node (of the
/// same type), of one with several results for each, as its results in their order; empty copies
/// it. Names, results, updates, inputs and provenance stay; what is added
/// meanwhile has the provenance of the node it replaces.
[[nodiscard]] Graph rewrite(
    const Graph& graph, const std::function<std::optional<Expr>(const RewriteContext&)>& replace);

/// The live part of `graph` and its inputs.
[[nodiscard]] Graph copy(const Graph& graph);

}  // namespace gradus::ir
