#pragma once

// Reading and adding at positions that are values themselves.

#include <functional>

#include "ir/expr.h"

namespace gradus::ir {

/// Slices of x by position along `axis`, behind `batch` leading axes that both have.
Expr gather(Expr x, Expr indices, std::int64_t axis, std::int64_t batch = 0);
/// f(x), of an f that gives of every row of x (along its last axis) a row, each by itself. Where x
/// holds the rows of a table at indices at least twice as many, f takes the table and its rows are
/// gathered: fewer rows, and gradients are added by row of the table before they go through f.
Expr map_rows(Expr x, const std::function<Expr(Expr rows)>& f);
/// Zeros with `extent` positions along `axis`, to which the slices `updates` are added in order.
Expr scatter_add(Expr updates, Expr indices, std::int64_t axis, std::int64_t batch,
                 std::int64_t extent);
/// The sums so far along `axis`: from the end with `reverse`, without the element itself with
/// `exclusive`.
Expr cumulative_sum(Expr x, std::int64_t axis, bool exclusive = false, bool reverse = false);
/// Positions along `axis` in ascending order of their elements, or descending.
Expr arg_sort(Expr x, std::int64_t axis, bool descending = false);
struct Sorted {
  Expr values;
  Expr positions;  // i32, of the same shape
};
Sorted sort(Expr x, std::int64_t axis, bool descending = false);
/// The first `count` of the descending order.
Sorted top_k(Expr x, std::int64_t axis, std::int64_t count);
/// 0, 1, 2, ... along `axis`.
Expr iota(Graph& graph, ElementType element, Shape shape, std::int64_t axis);
/// 1 of `element` where the last axis, of extent `classes`, is at the index, else 0. An index that
/// is not there is a fault.
Expr one_hot(Expr indices, std::int64_t classes, ElementType element);

}  // namespace gradus::ir
