#include "passes/fold.h"

#include <algorithm>

#include "base/float_environment.h"
#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/rewrite.h"

namespace gradus::passes {
namespace {

using ir::Expr;

constexpr std::int64_t kLargestFolded = 1024;  // elements of an operand or a result

/// The value of a constant; null when x is none.
const Tensor* constant_value(Expr x) {
  const ir::Node& node = x.graph->node(x.value.node);
  if (!std::holds_alternative<ir::ConstantComputation>(node.op->compute)) return nullptr;
  return node.attributes.get<ir::TensorPointer>("value").get();
}

std::optional<Expr> fold_node(const ir::RewriteContext& c) {
  if (c.operands.empty() || c.node.types.size() != 1) return std::nullopt;
  std::vector<const Tensor*> values;
  std::int64_t largest = 1;
  for (Expr x : c.operands) {
    values.push_back(constant_value(x));
    if (values.back() == nullptr) return std::nullopt;
    largest = std::max(largest, x.type().element_count());
  }
  const bool grows = c.node.types[0].element_count() > largest;
  if (largest > kLargestFolded || grows) return std::nullopt;
  ir::Fault fault;
  std::vector<Tensor> value = ir::interpret_node(c.node, values, fault);
  if (fault.kind != ir::FaultKind::none) return std::nullopt;
  return ir::constant(c.to, std::move(value.front()));
}

}  // namespace

ir::Graph fold(const ir::Graph& graph) {
  const FloatEnvironment environment;
  return ir::rewrite(graph, fold_node);
}

}  // namespace gradus::passes
