#include "ir/compositions/indexing.h"

#include <ranges>
#include <utility>

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

/// Whether the node puts the rows of its operand, along the last axis, in other places.
bool moves_rows(const Node& node, const Shape& operand) {
  if (operand.empty()) return false;
  if (node.op->name == "transpose") {
    return std::cmp_equal(node.attributes.get<Integers>("permutation").back() + 1, operand.size());
  }
  const Shape& shape = node.types[0].shape;
  return node.op->name == "reshape" && operand.back() != 0 && !shape.empty() &&
         shape.back() == operand.back();
}

/// The indices of rows, moved as `node` moves the rows.
Expr moved(Expr indices, const Node& node) {
  if (node.op->name == "transpose") {
    Integers permutation = node.attributes.get<Integers>("permutation");
    permutation.pop_back();
    return transpose(indices, std::move(permutation));
  }
  Shape shape = node.types[0].shape;
  shape.pop_back();
  return reshape(indices, std::move(shape));
}

/// Whether the node gathers rows of a table at indices at least twice as many.
bool repeats_rows(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.op->name != "gather" || node.attributes.get<std::int64_t>("axis") != 0 ||
      node.attributes.get<std::int64_t>("batch") != 0) {
    return false;
  }
  const Shape& table = graph.type(graph.operands(id)[0]).shape;
  const Shape& indices = graph.type(graph.operands(id)[1]).shape;
  return table.size() == 2 && 2 * table[0] <= element_count(indices);
}

}  // namespace

Expr map_rows(Expr x, const std::function<Expr(Expr rows)>& f) {
  Graph& graph = *x.graph;
  std::vector<NodeId> movements;
  NodeId id = x.value.node;
  while (graph.operands(id).size() == 1 &&
         moves_rows(graph.node(id), graph.type(graph.operands(id)[0]).shape)) {
    movements.push_back(id);
    id = graph.operands(id)[0].node;
  }
  if (!repeats_rows(graph, id)) return f(x);
  const Expr table{&graph, graph.operands(id)[0]};
  Expr indices{&graph, graph.operands(id)[1]};
  for (NodeId movement : movements | std::views::reverse) {
    indices = moved(indices, Node(graph.node(movement)));
  }
  const Expr rows = f(table);
  // An index out of range is a fault of who named it first.
  const ProvenanceScope scope(graph, Provenance(graph.node(id).provenance));
  return gather(rows, indices, 0);
}

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
