#include "ir/compositions/indexing.h"

#include "ir/op.h"

namespace gradus::ir {
namespace {

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

/// Swaps `axis` and the last one.
Expr with_last(Expr x, std::int64_t axis) {
  Integers order;
  for (std::int64_t i = 0; i < x.rank(); ++i) order.push_back(i);
  std::swap(order[at(axis)], order.back());
  return transpose(x, order);
}

/// The elements of x at `positions`, which has x's rank, along `axis`.
Expr gather_along(Expr x, Expr positions, std::int64_t axis) {
  const std::int64_t last = x.rank() - 1;
  return with_last(gather(with_last(x, axis), with_last(positions, axis), last, last), axis);
}

/// The first `count` positions along `axis`.
Expr first(Expr x, std::int64_t axis, std::int64_t count) {
  Integers limit = x.shape();
  limit[at(axis)] = count;
  return slice(x, Integers(limit.size(), 0), limit, Integers(limit.size(), 1));
}

}  // namespace

Expr gather(Expr x, Expr indices, std::int64_t axis, std::int64_t batch) {
  return apply("gather", {x, indices}, {{"axis", axis}, {"batch", batch}});
}

Expr scatter_add(Expr updates, Expr indices, std::int64_t axis, std::int64_t batch,
                 std::int64_t extent) {
  return apply("scatter_add", {updates, indices},
               {{"axis", axis}, {"batch", batch}, {"extent", extent}});
}

Expr cumulative_sum(Expr x, std::int64_t axis, bool exclusive, bool reversed) {
  if (axis < 0 || axis >= x.rank()) throw TypeError("no such axis of " + to_string(x.type()));
  if (reversed) return reverse(cumulative_sum(reverse(x, {axis}), axis, exclusive), {axis});
  if (exclusive) {
    Integers low(at(x.rank()), 0), high = low, interior = low;
    low[at(axis)] = 1;
    high[at(axis)] = -1;
    x = pad(x, constant(*x.graph, x.element(), 0), low, high, interior);
  }
  return apply("cumulative_sum", {x}, {{"axis", axis}});
}

Expr arg_sort(Expr x, std::int64_t axis, bool descending) {
  return apply("arg_sort", {x}, {{"axis", axis}, {"descending", descending}});
}

Sorted sort(Expr x, std::int64_t axis, bool descending) {
  const Expr positions = arg_sort(x, axis, descending);
  return {gather_along(x, positions, axis), positions};
}

Sorted top_k(Expr x, std::int64_t axis, std::int64_t count) {
  const Expr positions = first(arg_sort(x, axis, /*descending=*/true), axis, count);
  return {gather_along(x, positions, axis), positions};
}

Expr iota(Graph& graph, ElementType element, Shape shape, std::int64_t axis) {
  const NodeId id = graph.add(op("iota"), {},
                              {{"element", element}, {"shape", std::move(shape)}, {"axis", axis}});
  return {&graph, {id, 0}};
}

Expr one_hot(Expr indices, std::int64_t classes, ElementType element) {
  Shape shape = indices.shape();
  const auto last = static_cast<std::int64_t>(shape.size());
  shape.push_back(classes);
  const Expr checked = apply("check_index", {indices}, {{"extent", classes}});
  return cast(map("equal", iota(*indices.graph, indices.element(), shape, last),
                  broadcast_reduced(checked, shape, {last})),
              element);
}

}  // namespace gradus::ir
