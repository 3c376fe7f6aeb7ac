#pragma once

// Loops of static length: the op `scan` and functions that build it.
//
// The body is a graph like that of a program, and its inputs say what the operands of the scan are:
//  - a state with an update is *carried*: the operand is its first value, and every iteration
//    leaves the next one its update;
//  - a batch input is *stacked*: iteration t gets slice t along axis 0 of the operand;
//  - a state without an update is *invariant*: every iteration gets the operand;
//  - the one scalar input there may be, i64[], is t, the position along the stacks.
// Operands are the carried, then the stacked, then the invariant values, each in the order of the
// body's inputs. Results are the carried values after the last iteration, then for every output of
// the body the stack of what all iterations gave. `reverse` runs t from length - 1 down to 0; where
// slices lie in the stacks it does not change.

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "ir/expr.h"

namespace gradus::ir {

/// What belongs to the operands of a scan - values, types, tensors -, by their parts.
template <typename T>
struct ScanParts {
  std::span<const T> carried;
  std::span<const T> stacked;
  std::span<const T> invariant;
};

/// The inputs of a body by their part, each in the order of the graph, and its results.
struct ScanSignature {
  std::vector<NodeId> carried;
  std::vector<NodeId> stacked;
  std::vector<NodeId> invariant;
  std::optional<NodeId> iteration;
  std::vector<Value> next;  // of each carried one
  std::vector<Result> outputs;

  /// One of something for each operand, in their order.
  template <typename T>
  [[nodiscard]] ScanParts<T> parts(std::span<const T> operands) const {
    return {operands.first(carried.size()), operands.subspan(carried.size(), stacked.size()),
            operands.last(invariant.size())};
  }
  /// The number of the result that stacks output `j`.
  [[nodiscard]] std::size_t stack(std::size_t j) const { return carried.size() + j; }
};
/// Throws TypeError where a scalar input is no i64[], or there are two.
[[nodiscard]] ScanSignature scan_signature(const Graph& body);

/// A scan under construction.
struct Scan {
  Graph body;
  std::vector<Expr> carried;  // operands, by part
  std::vector<Expr> stacked;
  std::vector<Expr> invariant;
  std::int64_t length = 1;
  bool reverse = false;
};
/// The scan that is node `id`, with a body of its own.
[[nodiscard]] Scan scan_of(Graph& graph, NodeId id);
/// Appends it to the graph of its operands and returns all results.
std::vector<Expr> add_scan(Graph& graph, Scan scan);

/// What one iteration sees and gives.
struct ScanIteration {
  std::span<const Expr> carried;
  std::span<const Expr> slices;
  std::span<const Expr> invariant;
  Expr position;
};
struct ScanResults {
  std::vector<Expr> next;  // of the carried values
  std::vector<Expr> outputs;
};

struct ScanOperands {
  std::vector<Expr> carried;
  std::vector<Expr> stacked;
  std::vector<Expr> invariant;  // everything else of the outer graph that the body needs
};
/// Builds the body by calling `iterate` once, moves what need not be in the loop before it
/// (ir/hoist.h), and appends the scan: the carried values at the end, then the stacked outputs.
std::vector<Expr> scan(Graph& graph, const ScanOperands& operands, std::int64_t length,
                       bool reverse,
                       const std::function<ScanResults(const ScanIteration&)>& iterate);

/// The values of one graph in another: of every node's first result; dead nodes may have none.
using Moved = std::vector<std::optional<Value>>;

/// Appends the live part of `from` to `to`. `known` gives the new value of a node, if it has one
/// already: inputs, and what is no longer to be computed; it is asked for inputs first.
[[nodiscard]] Moved inline_graph(const Graph& from, Graph& to,
                                 const std::function<std::optional<Value>(NodeId)>& known);
[[nodiscard]] inline Value moved_value(const Moved& moved, Value old) {
  return {moved[old.node]->node, moved[old.node]->result + old.result};
}
/// Gives `to` the results of `from`.
void copy_results(const Graph& from, const Moved& moved, Graph& to);

}  // namespace gradus::ir
