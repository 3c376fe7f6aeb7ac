#include "passes/lower_indexing.h"

#include <optional>
#include <utility>

#include "ir/compositions/indexing.h"
#include "ir/op.h"
#include "ir/rewrite.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Integers;

/// NaN is greatest.
Expr is_less(Expr a, Expr b) {
  const Expr less = ir::map("less", a, b);
  if (!is_float(a.element())) return less;
  const Expr only_b = ir::map("and", ir::map("not_equal", b, b), ir::map("equal", a, a));
  return ir::map("or", less, only_b);
}

/// How many elements come before each along the last axis.
Expr counts_before(Expr x, bool descending) {
  const std::int64_t last = x.rank() - 1;
  Shape pairs = x.shape();  // [..., other, own]
  pairs.push_back(pairs.back());
  const Expr own = ir::broadcast_reduced(x, pairs, {last});
  const Expr other = ir::broadcast_reduced(x, pairs, {last + 1});
  const Expr earlier = ir::map("less", ir::iota(*x.graph, ElementType::i32, pairs, last),
                               ir::iota(*x.graph, ElementType::i32, pairs, last + 1));
  const Expr behind = descending ? is_less(other, own) : is_less(own, other);
  const Expr before = descending ? is_less(own, other) : is_less(other, own);
  const Expr comes_before = ir::select(earlier, ir::map("not", behind), before);
  return ir::sum(ir::cast(comes_before, ElementType::i32), {last});
}

std::optional<Expr> lower_sum(const ir::RewriteContext& c) {
  const auto axis = static_cast<std::size_t>(c.node.attributes.get<std::int64_t>("axis"));
  if (c.node.types[0].shape[axis] != 1) return std::nullopt;
  return 0.0 + c.operands[0];
}

std::optional<Expr> lower(const ir::RewriteContext& c) {
  if (std::holds_alternative<ir::CumulativeComputation>(c.node.op->compute)) return lower_sum(c);
  if (!std::holds_alternative<ir::SortComputation>(c.node.op->compute)) return std::nullopt;
  const TensorType& type = c.node.types[0];
  if (type.element_count() == 0) return ir::full(*c.operands[0].graph, type, 0);
  const std::int64_t last = type.rank() - 1;
  Integers order;
  for (std::int64_t axis = 0; axis <= last; ++axis) order.push_back(axis);
  std::swap(order[static_cast<std::size_t>(c.node.attributes.get<std::int64_t>("axis"))],
            order.back());
  const Expr x = ir::transpose(c.operands[0], order);
  const Expr counts = counts_before(x, c.node.attributes.get<bool>("descending"));
  const Expr positions = ir::iota(*x.graph, ElementType::i32, x.shape(), last);
  return ir::transpose(ir::scatter_add(positions, counts, last, last, x.shape().back()), order);
}

}  // namespace

ir::Graph lower_indexing(const ir::Graph& graph) { return ir::rewrite(graph, lower); }

}  // namespace gradus::passes
