// Algebra that keeps every bit. What it may not do: x * 0 = 0 (NaN, infinities, the sign of zero),
// x + 0 = x (-0 + 0 is +0), and any reassociation. Arithmetic flushes subnormals, so x * 1, x / 1,
// x - 0 and x + -0 are x only where x cannot be subnormal (passes/flushed.h). NaNs are all equal.

#include "passes/simplify.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <vector>

#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/flushed.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Integers;
using Rewritten = std::optional<Expr>;

/// What a rule sees: the node to be made, with its operands in the new graph.
struct Site {
  const ir::Attributes& attributes;
  const TensorType& type;
  std::span<const Expr> x;

  [[nodiscard]] const Integers& list(std::string_view name) const {
    return attributes.get<Integers>(name);
  }
  /// Operand i has the result's shape (an operand of rank 0 may stand for every element).
  [[nodiscard]] bool full(std::size_t i) const { return x[i].shape() == type.shape; }
};

const ir::Node& node_of(Expr x) { return x.graph->node(x.value.node); }
bool is(Expr x, std::string_view op) { return node_of(x).op == &ir::op(op); }
Expr operand(Expr x, std::size_t i) { return {x.graph, x.graph->operands(x.value.node)[i]}; }
const Integers& list(Expr x, std::string_view name) {
  return node_of(x).attributes.get<Integers>(name);
}
bool all_zero(const Integers& list) {
  return std::ranges::all_of(list, [](std::int64_t n) { return n == 0; });
}

/// The scalar that x repeats: x itself, or what is behind broadcasts; empty when x is no such.
Rewritten repeated_scalar(Expr x) {
  while (is(x, "broadcast")) x = operand(x, 0);
  return x.rank() == 0 ? Rewritten(x) : std::nullopt;
}
/// The number that x repeats, when it is a constant; every type as f64 (i64 rounded).
std::optional<double> repeated_number(Expr x) {
  const Rewritten scalar = repeated_scalar(x);
  if (!scalar || !is(*scalar, "constant")) return std::nullopt;
  const Tensor& tensor = *node_of(*scalar).attributes.get<ir::TensorPointer>("value");
  return dispatch(tensor.type.element, [&](auto zero) {
    using T = decltype(zero);
    T value;
    std::memcpy(&value, tensor.bytes.data(), sizeof(T));
    return static_cast<double>(value);
  });
}
/// x repeats `value`; zeros are told apart by sign (an integer's is +).
bool is_number(Expr x, double value) {
  const std::optional<double> number = repeated_number(x);
  return number && *number == value && std::signbit(*number) == std::signbit(value);
}

// --- Rules: a better value, or nothing ----------------------------------------------------------

using Rule = Rewritten (*)(const Site& s);

Rewritten compose_transposes(const Site& s) {
  const Integers& outer = s.list("permutation");
  if (std::ranges::is_sorted(outer)) return s.x[0];
  if (!is(s.x[0], "transpose")) return std::nullopt;
  Integers both;
  for (std::int64_t axis : outer) {
    both.push_back(list(s.x[0], "permutation")[static_cast<std::size_t>(axis)]);
  }
  return ir::transpose(operand(s.x[0], 0), both);
}
Rewritten compose_reshapes(const Site& s) {
  if (s.full(0)) return s.x[0];
  if (!is(s.x[0], "reshape")) return std::nullopt;
  return ir::reshape(operand(s.x[0], 0), s.type.shape);
}
Rewritten compose_broadcasts(const Site& s) {
  if (s.full(0)) return s.x[0];
  if (!is(s.x[0], "broadcast")) return std::nullopt;
  Integers both;
  for (std::int64_t axis : list(s.x[0], "axes")) {
    both.push_back(s.list("axes")[static_cast<std::size_t>(axis)]);
  }
  return ir::broadcast(operand(s.x[0], 0), s.type.shape, both);
}
Rewritten move_repeated_scalar(const Site& s) {
  if (!is(s.x[0], "broadcast")) return std::nullopt;
  const Rewritten scalar = repeated_scalar(s.x[0]);
  return scalar ? Rewritten(ir::broadcast_scalar(*scalar, s.type.shape)) : std::nullopt;
}
Rewritten reverse_twice(const Site& s) {
  const bool single = std::ranges::all_of(s.list("axes"), [&](std::int64_t axis) {
    return s.type.shape[static_cast<std::size_t>(axis)] <= 1;
  });
  if (single) return s.x[0];
  const bool twice = is(s.x[0], "reverse") && list(s.x[0], "axes") == s.list("axes");
  return twice ? Rewritten(operand(s.x[0], 0)) : std::nullopt;
}
Rewritten drop_full_slice(const Site& s) { return s.full(0) ? Rewritten(s.x[0]) : std::nullopt; }
Rewritten drop_empty_pad(const Site& s) {
  const bool empty = s.full(0) && all_zero(s.list("low")) && all_zero(s.list("high"));
  return empty ? Rewritten(s.x[0]) : std::nullopt;
}
Rewritten drop_single_concat(const Site& s) {
  return s.x.size() == 1 ? Rewritten(s.x[0]) : std::nullopt;
}

Rewritten negate_twice(const Site& s) {
  return is(s.x[0], "neg") ? Rewritten(operand(s.x[0], 0)) : std::nullopt;
}
Rewritten not_twice(const Site& s) {
  return is(s.x[0], "not") ? Rewritten(operand(s.x[0], 0)) : std::nullopt;
}
Rewritten drop_sign(const Site& s) {
  if (is(s.x[0], "abs")) return s.x[0];
  const bool has_sign = is_float(s.type.element) || is_signed_integer(s.type.element);
  const bool exact = has_sign && is(s.x[0], "neg");
  return exact ? Rewritten(ir::map("abs", operand(s.x[0], 0))) : std::nullopt;
}
Rewritten add_nothing(const Site& s) {
  for (std::size_t i : {0u, 1u}) {
    const double zero = is_float(s.type.element) ? -0.0 : 0.0;
    if (s.full(i) && is_number(s.x[1 - i], zero) && is_flushed(s.x[i])) return s.x[i];
  }
  return std::nullopt;
}
Rewritten subtract_nothing(const Site& s) {
  const bool exact = s.full(0) && is_number(s.x[1], 0) && is_flushed(s.x[0]);
  return exact ? Rewritten(s.x[0]) : std::nullopt;
}
Rewritten add_negative(const Site& s) {
  for (std::size_t i : {1u, 0u}) {
    if (is(s.x[i], "neg")) return ir::map("sub", s.x[1 - i], operand(s.x[i], 0));
  }
  return std::nullopt;
}
Rewritten subtract_negative(const Site& s) {
  if (!is(s.x[1], "neg")) return std::nullopt;
  return ir::map("add", s.x[0], operand(s.x[1], 0));
}
Rewritten multiply_by_one(const Site& s) {
  for (std::size_t i : {0u, 1u}) {
    if (s.full(i) && is_number(s.x[1 - i], 1) && is_flushed(s.x[i])) return s.x[i];
  }
  return std::nullopt;
}
Rewritten multiply_negatives(const Site& s) {
  if (!is(s.x[0], "neg") || !is(s.x[1], "neg")) return std::nullopt;
  return ir::map("mul", operand(s.x[0], 0), operand(s.x[1], 0));
}
Rewritten divide_by_one(const Site& s) {
  const bool exact = s.full(0) && is_number(s.x[1], 1) && is_flushed(s.x[0]);
  return exact ? Rewritten(s.x[0]) : std::nullopt;
}
/// Both round the same exact quotient.
Rewritten divide_by_power(const Site& s) {
  const std::optional<double> divisor = repeated_number(s.x[1]);
  if (!is_float(s.type.element) || !divisor) return std::nullopt;
  int exponent = 0;
  const double mantissa = std::frexp(*divisor, &exponent);
  // |divisor| = 2^(exponent - 1): its reciprocal must be normal too.
  const int limit = s.type.element == ElementType::f32 ? std::numeric_limits<float>::max_exponent
                                                       : std::numeric_limits<double>::max_exponent;
  if (std::abs(mantissa) != 0.5 || std::abs(exponent - 1) > limit - 2) return std::nullopt;
  return ir::map("mul", s.x[0], ir::full_like(s.x[1], 1 / *divisor));
}

Rewritten select_known(const Site& s) {
  if (s.x[1].value == s.x[2].value && s.full(1)) return s.x[1];
  for (std::size_t i : {1u, 2u}) {
    if (is_number(s.x[0], i == 1 ? 1 : 0) && s.full(i)) return s.x[i];
  }
  return std::nullopt;
}
Rewritten select_negated(const Site& s) {
  if (!is(s.x[0], "not")) return std::nullopt;
  return ir::apply("select", {operand(s.x[0], 0), s.x[2], s.x[1]});
}
/// The mask of h = select(x <= 0, 0, x) can be told from h, so x need not be kept for it.
Rewritten mask_of_rectified(const Site& s) {
  if (!is(s.x[0], "less_equal") || !is_number(operand(s.x[0], 1), 0)) return std::nullopt;
  const Expr rectified_from = operand(s.x[0], 0);
  ir::Graph& graph = *s.x[0].graph;
  for (ir::NodeId user : graph.users(s.x[0].value.node)) {
    const Expr h{&graph, {user, 0}};
    if (!is(h, "select") || operand(h, 2).value != rectified_from.value) continue;
    if (operand(h, 0).value != s.x[0].value || !is_number(operand(h, 1), 0)) continue;
    if (s.x[2].value == rectified_from.value) return std::nullopt;  // h itself
    return ir::select(ir::map("less_equal", h, operand(s.x[0], 1)), s.x[1], s.x[2]);
  }
  return std::nullopt;
}

/// Every value of `narrow` comes back from `wide` (integers of one width by wrapping).
bool comes_back(ElementType narrow, ElementType wide) {
  using enum ElementType;
  const auto bits = [](ElementType type) {
    return type == boolean ? 1 : static_cast<int>(8 * byte_size(type));
  };
  if (wide == boolean) return narrow == boolean;
  if (is_float(narrow)) return is_float(wide) && bits(wide) >= bits(narrow);
  return bits(narrow) <= (wide == f32 ? 24 : wide == f64 ? 53 : bits(wide));
}
Rewritten cast_back(const Site& s) {
  if (s.x[0].element() == s.type.element) return s.x[0];
  if (!is(s.x[0], "cast")) return std::nullopt;
  const Expr x = operand(s.x[0], 0);
  const bool exact = x.element() == s.type.element &&
                     comes_back(s.type.element, s.x[0].element()) && is_flushed(x);
  return exact ? Rewritten(x) : std::nullopt;
}

struct NamedRule {
  std::string_view op;
  Rule rule;
};
constexpr NamedRule kRules[] = {
    {"transpose", compose_transposes},    // (x^p)^q = x^(p q);  x^1 = x
    {"transpose", move_repeated_scalar},  // of a repeated scalar: the scalar repeated
    {"reshape", compose_reshapes},        // reshape(reshape(x)) = reshape(x)
    {"reshape", move_repeated_scalar},    //
    {"broadcast", compose_broadcasts},    // broadcast(broadcast(x)) = broadcast(x)
    {"slice", drop_full_slice},           // x[:] = x
    {"slice", move_repeated_scalar},      //
    {"reverse", reverse_twice},           // reverse(reverse(x)) = x
    {"reverse", move_repeated_scalar},    //
    {"pad", drop_empty_pad},              // pad(x, 0, 0) = x
    {"concat", drop_single_concat},       // concat(x) = x
    {"neg", negate_twice},                // -(-x) = x
    {"not", not_twice},                   // !!x = x
    {"abs", drop_sign},                   // |-x| = |x|;  ||x|| = |x|
    {"add", add_nothing},                 // x + -0 = x where x is no subnormal
    {"add", add_negative},                // x + -y = x - y;  -x + y = y - x
    {"sub", subtract_nothing},            // x - 0 = x where x is no subnormal
    {"sub", subtract_negative},           // x - -y = x + y
    {"mul", multiply_by_one},             // x * 1 = x where x is no subnormal
    {"mul", multiply_negatives},          // -x * -y = x * y
    {"div", divide_by_one},               // x / 1 = x where x is no subnormal
    {"div", divide_by_power},             // x / 2^k = x * 2^-k
    {"select", select_known},             // select(true, a, b) = a;  select(c, a, a) = a
    {"select", select_negated},           // select(!c, a, b) = select(c, b, a)
    {"select", mask_of_rectified},        // x <= 0 is relu(x) <= 0
    {"cast", cast_back},                  // narrow(wide(x)) = x where x is no subnormal
};

using RulesByOp = std::unordered_map<const ir::OpRecord*, std::vector<Rule>>;

const RulesByOp& rules_by_op() {
  static const RulesByOp rules = [] {
    RulesByOp result;
    for (const NamedRule& rule : kRules) result[&ir::op(rule.op)].push_back(rule.rule);
    return result;
  }();
  return rules;
}

Rewritten improve(const ir::RewriteContext& c) {
  const auto rules = rules_by_op().find(c.node.op);
  if (rules == rules_by_op().end()) return std::nullopt;
  for (Rule rule : rules->second) {
    const Rewritten better = rule({c.node.attributes, c.node.types[0], c.operands});
    if (better) return better;
  }
  return std::nullopt;
}

}  // namespace

ir::Graph simplify(const ir::Graph& graph) {
  ir::Graph current = ir::rewrite(graph, improve);
  std::uint64_t before = graph.hash();
  for (std::uint64_t hash = current.hash(); hash != before; hash = current.hash()) {
    before = hash;
    current = ir::rewrite(current, improve);
  }
  return current;
}

}  // namespace gradus::passes
