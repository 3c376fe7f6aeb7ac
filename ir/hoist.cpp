// Every node of a body is a constant, invariant, a function of slices and invariants (stacked), or
// depends on carried values: the greatest of what its operands are. The nodes to move are found
// from the results on, so that what only moved nodes need is never looked at.

#include "ir/hoist.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/overloaded.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

enum class Dependence : std::uint8_t { constant, invariant, stacked, carried };

/// New inputs of a body under names that are free.
Value new_input(Graph& body, std::string_view prefix, InputKind kind, const TensorType& type) {
  int number = 0;
  while (body.find_input(fmt::format("{}{}", prefix, number))) ++number;
  return body.add_input(fmt::format("{}{}", prefix, number), kind, type);
}

class Hoister {
 public:
  Hoister(Graph& graph, Scan& scan)
      : graph_(graph), scan_(scan), body_(scan.body), signature_(scan_signature(scan.body)) {
    depends_.assign(body_.size(), Dependence::constant);
    const auto mark = [&](const std::vector<NodeId>& inputs, const std::vector<Expr>& operands,
                          Dependence dependence) {
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        depends_[inputs[i]] = dependence;
        operand_[inputs[i]] = operands[i];
      }
    };
    mark(signature_.carried, scan.carried, Dependence::carried);
    mark(signature_.stacked, scan.stacked, Dependence::stacked);
    mark(signature_.invariant, scan.invariant, Dependence::invariant);
    if (signature_.iteration) depends_[*signature_.iteration] = Dependence::stacked;
    for (NodeId id = 0; id < body_.size(); ++id) {
      for (Value x : body_.operands(id)) depends_[id] = std::max(depends_[id], depends_[x.node]);
    }
  }

  Scan run() {
    find();
    Scan result{Graph(body_.name()), scan_.carried, scan_.stacked,
                scan_.invariant,     scan_.length,  scan_.reverse};
    std::map<NodeId, Expr> moved;  // what takes the place of a node, outside
    for (NodeId id : frontier_) {
      const ProvenanceScope scope(graph_, body_.node(id).provenance);
      moved.emplace(id,
                    depends_[id] == Dependence::stacked ? *stack_of({id, 0}) : *outside({id, 0}));
    }
    result.body = rewrite_with(moved, result);
    return without_unused(std::move(result));
  }

 private:
  /// The nodes to move that others than those need.
  void find() {
    std::vector<bool> needed(body_.size());
    for (const Result& result : body_.results()) needed[result.value.node] = true;
    for (auto id = static_cast<NodeId>(body_.size()); id-- > 0;) {
      if (!needed[id]) continue;
      if (moves(id)) {
        frontier_.push_back(id);
        continue;
      }
      for (Value x : body_.operands(id)) needed[x.node] = true;
    }
    std::ranges::reverse(frontier_);
  }

  bool moves(NodeId id) {
    const Node& node = body_.node(id);
    if (node.types.size() != 1 || body_.operands(id).empty()) return false;
    const bool computes =
        is_dear(node) || std::holds_alternative<ElementwiseComputation>(node.op->compute);
    if (depends_[id] == Dependence::invariant) return computes;
    return depends_[id] == Dependence::stacked && is_dear(node) && stack_of({id, 0}).has_value();
  }

  /// The body with new inputs in the place of what was moved.
  Graph rewrite_with(const std::map<NodeId, Expr>& moved, Scan& result) const {
    Graph to(body_.name());
    const auto input = [&](NodeId id) -> std::optional<Value> {
      const Node& node = body_.node(id);
      if (std::holds_alternative<InputComputation>(node.op->compute)) {
        return Value{to.add(node, {}), 0};
      }
      const auto found = moved.find(id);
      if (found == moved.end()) return std::nullopt;
      const bool stacked = depends_[id] == Dependence::stacked;
      (stacked ? result.stacked : result.invariant).push_back(found->second);
      return new_input(to, stacked ? "x" : "w", stacked ? InputKind::batch : InputKind::state,
                       node.types[0]);
    };
    copy_results(body_, inline_graph(body_, to, input), to);
    return to;
  }

  /// A value that is the same in every iteration, in the outer graph.
  std::optional<Expr> outside(Value value) {
    const Node& node = body_.node(value.node);
    auto found = operand_.find(value.node);
    if (found == operand_.end()) {
      std::vector<Value> operands;
      for (Value x : body_.operands(value.node)) operands.push_back(outside(x)->value);
      found = operand_.emplace(value.node, Expr{&graph_, {graph_.add(node, operands), 0}}).first;
    }
    if (node.types.size() == 1) return found->second;  // of an input it may be any result
    return Expr{&graph_, {found->second.value.node, value.result}};
  }

  /// The stack of a value of all iterations, in the outer graph; empty where an op on the way has
  /// no rule for it.
  std::optional<Expr> stack_of(Value value) {
    if (const auto found = operand_.find(value.node); found != operand_.end()) return found->second;
    if (signature_.iteration == value.node) {
      return Expr{&graph_,
                  {graph_.add(op("iota"), {},
                              {{"element", ElementType::i64},
                               {"shape", Shape{scan_.length}},
                               {"axis", std::int64_t{0}}}),
                   0}};
    }
    const Node& node = body_.node(value.node);
    if (node.types.size() != 1) return std::nullopt;
    std::vector<Expr> x;
    std::vector<char> stacked;
    for (Value operand : body_.operands(value.node)) {
      const bool is_stack = depends_[operand.node] == Dependence::stacked;
      const std::optional<Expr> moved = is_stack ? stack_of(operand) : outside(operand);
      if (!moved) return std::nullopt;
      x.push_back(*moved);
      stacked.push_back(is_stack ? 1 : 0);
    }
    const ProvenanceScope scope(graph_, node.provenance);
    const std::optional<Expr> result = stack(node, x, stacked);
    if (result) operand_[value.node] = *result;
    return result;
  }

  std::optional<Expr> stack(const Node& node, const std::vector<Expr>& x,
                            const std::vector<char>& stacked) const {
    const auto flags = std::make_unique<bool[]>(x.size());
    std::ranges::copy(stacked, flags.get());
    const StackContext context{x, {flags.get(), x.size()}, node.types[0], node.attributes};
    if (node.op->stack != nullptr) return node.op->stack(context);
    const bool elementwise = std::holds_alternative<ElementwiseComputation>(node.op->compute);
    if (!elementwise || node.attributes.find("shape") != nullptr) return std::nullopt;
    return stack_elementwise(*node.op, context);
  }

  /// Operands become as large as the stack of the results.
  Expr stack_elementwise(const OpRecord& op, const StackContext& c) const {
    Shape shape = c.result.shape;
    shape.insert(shape.begin(), scan_.length);
    std::vector<Expr> x(c.x.begin(), c.x.end());
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (!c.stacked[i] && x[i].rank() == 0) continue;
      Integers axes;
      if (c.stacked[i]) axes.push_back(0);
      if (std::cmp_less(axes.size(), x[i].rank())) {
        for (std::int64_t axis = 1; std::cmp_less(axis, shape.size()); ++axis) {
          axes.push_back(axis);
        }
      }
      x[i] = broadcast(x[i], shape, axes);
    }
    return apply(op.name, x, c.attributes);
  }

  Graph& graph_;
  Scan& scan_;
  const Graph& body_;
  ScanSignature signature_;
  std::vector<Dependence> depends_;
  std::map<NodeId, Expr> operand_;  // what is outside: operands, and what was moved
  std::vector<NodeId> frontier_;
};

}  // namespace

bool is_dear(const Node& node) {
  return std::visit(overloaded{
                        [](const InputComputation&) { return false; },
                        [](const ConstantComputation&) { return false; },
                        [](const ElementwiseComputation&) { return false; },
                        [](const MovementComputation&) { return false; },
                        [](const ViewComputation&) { return false; },
                        [](const ResultComputation&) { return false; },
                        [](const GatherComputation&) { return false; },
                        [](const auto&) { return true; },
                    },
                    node.op->compute);
}

Scan hoisted(Graph& graph, Scan scan) { return Hoister(graph, scan).run(); }

Scan without_unused(Scan scan) {
  const std::vector<bool> live = scan.body.live();
  const ScanSignature signature = scan_signature(scan.body);
  const auto keep_live = [&](std::vector<Expr>& operands, const std::vector<NodeId>& inputs) {
    std::vector<Expr> kept;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (live[inputs[i]]) kept.push_back(operands[i]);
    }
    operands = std::move(kept);
  };
  keep_live(scan.stacked, signature.stacked);
  keep_live(scan.invariant, signature.invariant);
  Graph body(scan.body.name());
  const auto copy_input = [&](NodeId id) -> std::optional<Value> {
    const Node& node = scan.body.node(id);
    const bool carried = std::ranges::find(signature.carried, id) != signature.carried.end();
    const bool is_input = std::holds_alternative<InputComputation>(node.op->compute);
    if (!is_input || (!live[id] && !carried)) return std::nullopt;
    return Value{body.add(node, {}), 0};
  };
  copy_results(scan.body, inline_graph(scan.body, body, copy_input), body);
  scan.body = std::move(body);
  return scan;
}

}  // namespace gradus::ir
