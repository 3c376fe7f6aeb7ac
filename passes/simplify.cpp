#include "passes/simplify.h"

#include <algorithm>

#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "base/float_environment.h"
#include "passes/access.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Integers;
using Rewritten = std::optional<Expr>;

constexpr std::int64_t kLargestFolded = 1024;  // elements

const ir::Node& node_of(Expr x) { return x.graph->node(x.value.node); }
bool is(Expr x, std::string_view op) { return node_of(x).op == &ir::op(op); }
Expr operand(Expr x, std::size_t i) { return {x.graph, x.graph->operands(x.value.node)[i]}; }
const Integers& list(Expr x, std::string_view name) {
  return node_of(x).attributes.get<Integers>(name);
}
bool ascending(const Integers& axes) {
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

bool is_constant(Expr x) {
  return std::holds_alternative<ir::ConstantComputation>(node_of(x).op->compute);
}
/// The constant behind scalar broadcasts.
const Tensor* constant_of(Expr x) {
  while (is(x, "broadcast")) x = operand(x, 0);
  return is_constant(x) ? node_of(x).attributes.get<ir::TensorPointer>("value").get() : nullptr;
}
bool is_number(Expr x, double value) {
  const Tensor* tensor = constant_of(x);
  if (!tensor || tensor->type.rank() != 0) return false;
  return dispatch(tensor->type.element, [&](auto zero) {
    using T = decltype(zero);
    T found;
    std::memcpy(&found, tensor->bytes.data(), sizeof(T));
    const T wanted = static_cast<T>(value);
    return std::memcmp(&found, &wanted, sizeof(T)) == 0;
  });
}

/// A result of arithmetic, so never subnormal.
bool is_flushed(Expr x) {
  if (!is_float(x.element())) return true;
  constexpr std::string_view arithmetic[] = {"add", "sub", "mul", "div", "sqrt", "dot", "sum"};
  return std::ranges::any_of(arithmetic, [&](std::string_view op) { return is(x, op); });
}

// --- Rules: the node y with its new operands x; a better value, or nothing. ---------------------

using Rule = Rewritten (*)(const ir::RewriteContext& c, std::span<const Expr> x);

Rewritten compose_transposes(const ir::RewriteContext& c, std::span<const Expr> x) {
  const Integers& outer = c.node.attributes.get<Integers>("permutation");
  if (ascending(outer)) return x[0];
  if (!is(x[0], "transpose")) return std::nullopt;
  Integers both;
  for (std::int64_t axis : outer) {
    both.push_back(list(x[0], "permutation")[static_cast<std::size_t>(axis)]);
  }
  return ir::transpose(operand(x[0], 0), both);
}
Rewritten compose_reshapes(const ir::RewriteContext& c, std::span<const Expr> x) {
  if (x[0].shape() == c.node.types[0].shape) return x[0];
  if (!is(x[0], "reshape")) return std::nullopt;
  return ir::reshape(operand(x[0], 0), c.node.types[0].shape);
}
Rewritten compose_broadcasts(const ir::RewriteContext& c, std::span<const Expr> x) {
  const Integers& axes = c.node.attributes.get<Integers>("axes");
  if (x[0].shape() == c.node.types[0].shape) return x[0];
  if (!is(x[0], "broadcast")) return std::nullopt;
  Integers both;
  for (std::int64_t axis : list(x[0], "axes")) both.push_back(axes[static_cast<std::size_t>(axis)]);
  return ir::broadcast(operand(x[0], 0), c.node.types[0].shape, both);
}
Rewritten drop_double_negation(const ir::RewriteContext&, std::span<const Expr> x) {
  return is(x[0], "neg") ? Rewritten(operand(x[0], 0)) : std::nullopt;
}
Rewritten drop_double_not(const ir::RewriteContext&, std::span<const Expr> x) {
  return is(x[0], "not") ? Rewritten(operand(x[0], 0)) : std::nullopt;
}
Rewritten multiply_by_one(const ir::RewriteContext& c, std::span<const Expr> x) {
  for (std::size_t i : {0u, 1u}) {
    const bool same_shape = x[i].shape() == c.node.types[0].shape;
    if (same_shape && is_number(x[1 - i], 1) && is_flushed(x[i])) return x[i];
  }
  return std::nullopt;
}
Rewritten divide_by_one(const ir::RewriteContext& c, std::span<const Expr> x) {
  const bool exact = x[0].shape() == c.node.types[0].shape && is_flushed(x[0]);
  return exact && is_number(x[1], 1) ? Rewritten(x[0]) : std::nullopt;
}
Rewritten drop_full_slice(const ir::RewriteContext& c, std::span<const Expr> x) {
  return x[0].shape() == c.node.types[0].shape ? Rewritten(x[0]) : std::nullopt;
}
Rewritten drop_single_concat(const ir::RewriteContext&, std::span<const Expr> x) {
  return x.size() == 1 ? Rewritten(x[0]) : std::nullopt;
}
Rewritten choose_known(const ir::RewriteContext& c, std::span<const Expr> x) {
  if (x[1].value == x[2].value && x[1].shape() == c.node.types[0].shape) return x[1];
  for (std::size_t i : {0u, 1u}) {
    const bool chosen = is_number(x[0], i == 0 ? 1 : 0);
    if (chosen && x[i + 1].shape() == c.node.types[0].shape) return x[i + 1];
  }
  return std::nullopt;
}
/// select(x <= 0, a, b) where h = select(x <= 0, 0, x) exists: h <= 0 says the same, so x need not
/// be kept for the backward pass.
Rewritten mask_of_rectified(const ir::RewriteContext&, std::span<const Expr> x) {
  if (!is(x[0], "less_equal") || !is_number(operand(x[0], 1), 0)) return std::nullopt;
  const Expr rectified_from = operand(x[0], 0);
  ir::Graph& graph = *x[0].graph;
  for (ir::NodeId user : graph.users(x[0].value.node)) {
    const Expr h{&graph, {user, 0}};
    if (!is(h, "select") || operand(h, 2).value != rectified_from.value) continue;
    if (operand(h, 0).value != x[0].value || !is_number(operand(h, 1), 0)) continue;
    if (x[2].value == rectified_from.value) return std::nullopt;  // h itself
    return ir::select(ir::map("less_equal", h, operand(x[0], 1)), x[1], x[2]);
  }
  return std::nullopt;
}

struct NamedRule {
  std::string_view op;
  Rule rule;
};
constexpr NamedRule kRules[] = {
    {"transpose", compose_transposes},   // (x^p)^q = x^(p q);  x^1 = x
    {"reshape", compose_reshapes},       // reshape(reshape(x)) = reshape(x)
    {"broadcast", compose_broadcasts},   // broadcast(broadcast(x)) = broadcast(x)
    {"neg", drop_double_negation},       // -(-x) = x
    {"not", drop_double_not},            // !!x = x
    {"mul", multiply_by_one},            // x * 1 = x where x is no subnormal
    {"div", divide_by_one},              // x / 1 = x where x is no subnormal
    {"slice", drop_full_slice},          // x[:] = x
    {"concat", drop_single_concat},      // concat(x) = x
    {"select", choose_known},            // select(true, a, b) = a;  select(c, a, a) = a
    {"select", mask_of_rectified},       // x <= 0 = max(x, 0) <= 0
};

/// Scalars (and small tensors from small tensors) that depend on constants only.
Rewritten fold(const ir::RewriteContext& c) {
  if (c.operands.empty() || c.node.types.size() != 1) return std::nullopt;
  std::int64_t largest = 1;
  for (Expr x : c.operands) {
    if (!is_constant(x)) return std::nullopt;
    largest = std::max(largest, x.type().element_count());
  }
  if (c.node.types[0].element_count() > std::min(largest, kLargestFolded)) return std::nullopt;
  std::vector<const Tensor*> values;
  for (Expr x : c.operands) {
    values.push_back(node_of(x).attributes.get<ir::TensorPointer>("value").get());
  }
  const FloatEnvironment environment;
  ir::Fault fault;
  Tensor value = ir::interpret_node(c.node, values, fault);
  if (fault.kind != ir::FaultKind::none) return std::nullopt;
  return ir::constant(c.to, std::move(value));
}

Rewritten improve(const ir::RewriteContext& c) {
  if (Rewritten folded = fold(c)) return folded;
  for (const NamedRule& rule : kRules) {
    if (c.node.op->name != rule.op) continue;
    if (Rewritten better = rule.rule(c, c.operands)) return better;
  }
  return std::nullopt;
}

}  // namespace

ir::Graph simplify(const ir::Graph& graph) {
  ir::Graph current = ir::rewrite(graph, improve);
  std::uint64_t before = graph.hash();
  while (current.hash() != before) {
    before = current.hash();
    current = ir::rewrite(current, improve);
  }
  return current;
}

}  // namespace gradus::passes
