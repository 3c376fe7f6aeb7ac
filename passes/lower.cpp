#include "passes/lower.h"

#include <algorithm>
#include <set>
#include <vector>

#include "ir/compositions/indexing.h"
#include "ir/half_plane.h"
#include "ir/op.h"
#include "ir/order.h"
#include "ir/rewrite.h"
#include "passes/fuse.h"
#include "passes/repeat_contractions.h"
#include "passes/roots.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Integers;

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

/// A contraction's axes by role, on both sides.
struct Roles {
  Integers lhs_batch, rhs_batch, lhs_contract, rhs_contract, lhs_free, rhs_free;

  explicit Roles(const ir::RewriteContext& c) {
    const auto axes = [&](std::string_view name) { return c.node.attributes.get<Integers>(name); };
    lhs_batch = axes("lhs_batch");
    rhs_batch = axes("rhs_batch");
    lhs_contract = axes("lhs_contract");
    rhs_contract = axes("rhs_contract");
    lhs_free = free(c.operands[0].rank(), lhs_batch, lhs_contract);
    rhs_free = free(c.operands[1].rank(), rhs_batch, rhs_contract);
  }

 private:
  static Integers free(std::int64_t rank, const Integers& batch, const Integers& contract) {
    Integers result;
    for (std::int64_t axis = 0; axis < rank; ++axis) {
      if (!std::ranges::count(batch, axis) && !std::ranges::count(contract, axis)) {
        result.push_back(axis);
      }
    }
    return result;
  }
};

/// With its parts added up.
bool is_complete(const ir::Node& node) {
  const auto* contraction = std::get_if<ir::ContractionComputation>(&node.op->compute);
  return contraction != nullptr && !contraction->parts;
}

std::int64_t product(const Shape& shape, const Integers& axes) {
  std::int64_t result = 1;
  for (std::int64_t axis : axes) result *= shape[at(axis)];
  return result;
}

Integers concatenated(std::initializer_list<Integers> lists) {
  Integers result;
  for (const Integers& list : lists) result.insert(result.end(), list.begin(), list.end());
  return result;
}

/// Products, whose last three axes are row, column and contracted axis where there is a half-plane:
/// +0 where it does not admit them.
Expr admitted(const ir::Node& contraction, Expr products) {
  const std::optional<ir::HalfPlane> half_plane = ir::half_plane(contraction.attributes);
  if (!half_plane) return products;
  const auto index = [&](ir::MatrixAxis axis) {
    return ir::iota(*products.graph, ElementType::i64, products.shape(),
                    products.rank() - 3 + static_cast<std::int64_t>(axis));
  };
  const Expr border = index(half_plane->high) + static_cast<double>(half_plane->offset);
  return ir::select(ir::map("less_equal", index(half_plane->low), border), products,
                    ir::full_like(products, 0));
}

std::optional<Expr> expand(const ir::RewriteContext& c) {
  if (!is_complete(c.node)) return std::nullopt;
  const Roles roles(c);
  const Expr lhs = c.operands[0];
  const Expr rhs = c.operands[1];
  const bool small = product(lhs.shape(), roles.lhs_free) * product(rhs.shape(), roles.rhs_free) <
                     ir::kSmallContraction;
  if (!small && is_float(lhs.element())) {
    return std::nullopt;
  }
  // Product tensor: batch, lhs free, rhs free, contracted.
  Shape shape = c.node.types[0].shape;
  const auto outputs = static_cast<std::int64_t>(shape.size());
  for (std::int64_t axis : roles.lhs_contract) shape.push_back(lhs.shape()[at(axis)]);
  const auto lift = [&](Expr x, const Integers& order, const Integers& batch, std::int64_t free,
                        std::int64_t first_free, std::int64_t contracted) {
    Integers axes;
    for (std::size_t i = 0; i < batch.size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
    for (std::int64_t i = 0; i < free; ++i) axes.push_back(first_free + i);
    for (std::int64_t i = 0; i < contracted; ++i) axes.push_back(outputs + i);
    return ir::broadcast(ir::transpose(x, order), shape, axes);
  };
  const auto batches = static_cast<std::int64_t>(roles.lhs_batch.size());
  const auto lhs_free = static_cast<std::int64_t>(roles.lhs_free.size());
  const auto rhs_free = static_cast<std::int64_t>(roles.rhs_free.size());
  const auto contracted = static_cast<std::int64_t>(roles.lhs_contract.size());
  const Expr a = lift(lhs, concatenated({roles.lhs_batch, roles.lhs_free, roles.lhs_contract}),
                      roles.lhs_batch, lhs_free, batches, contracted);
  const Expr b = lift(rhs, concatenated({roles.rhs_batch, roles.rhs_free, roles.rhs_contract}),
                      roles.rhs_batch, rhs_free, batches + lhs_free, contracted);
  if (contracted == 0) return a * b;
  Integers axes;
  for (std::int64_t i = 0; i < contracted; ++i) axes.push_back(outputs + i);
  return ir::sum(admitted(c.node, a * b), axes);
}

/// Axes that follow each other in memory order, as reshape needs them to merge.
bool consecutive(const Integers& axes) {
  for (std::size_t i = 1; i < axes.size(); ++i) {
    if (axes[i] != axes[i - 1] + 1) return false;
  }
  return true;
}

/// An operand with one axis for all free and one for all contracted axes, and where these are.
struct Side {
  Expr x;
  Integers batch, free, contract;
};

Side merge_axes(Expr x, const Integers& batch, const Integers& free, const Integers& contract) {
  // Keep the order of the roles in memory where each role lies together, else batch, free,
  // contract.
  std::vector<std::pair<std::int64_t, const Integers*>> roles;
  bool together = true;
  for (const Integers* role : {&batch, &free, &contract}) {
    together &= consecutive(*role);
    if (!role->empty()) roles.emplace_back(role->front(), role);
  }
  together &= batch.empty() || batch.front() == 0;
  if (together) std::sort(roles.begin(), roles.end());
  Integers permutation;
  Shape shape;
  Side side{x, {}, {}, {}};
  const auto add = [&](Integers& axes, std::int64_t extent) {
    axes.push_back(static_cast<std::int64_t>(shape.size()));
    shape.push_back(extent);
  };
  if (free.empty() && batch.empty()) add(side.free, 1);  // in front of everything
  for (const auto& [first, role] : roles) {
    permutation.insert(permutation.end(), role->begin(), role->end());
    if (role != &batch) {
      add(role == &free ? side.free : side.contract, product(x.shape(), *role));
      continue;
    }
    for (std::int64_t axis : batch) add(side.batch, x.shape()[at(axis)]);
    if (free.empty()) add(side.free, 1);
  }
  if (contract.empty()) add(side.contract, 1);
  side.x = ir::reshape(ir::transpose(x, permutation), shape);
  return side;
}

/// Positions of the merged contracted axis that the parts keep together (ir/order.h).
std::int64_t part_unit(const Shape& shape, const Integers& contract, std::int64_t unit) {
  std::int64_t slice = 1;
  bool after_first = false;
  for (std::int64_t axis : contract) {
    if (after_first) slice *= shape[at(axis)];
    after_first |= shape[at(axis)] != 1;
  }
  return std::max<std::int64_t>(slice * unit, 1);
}

/// On both sides the batch axes, and one axis for each other role.
Expr canonical_product(const ir::RewriteContext& c, const Roles& roles) {
  const Side lhs = merge_axes(c.operands[0], roles.lhs_batch, roles.lhs_free, roles.lhs_contract);
  const Side rhs = merge_axes(c.operands[1], roles.rhs_batch, roles.rhs_free, roles.rhs_contract);
  const ir::PartRule rule = ir::part_rule(c.node.attributes);
  const std::int64_t unit = part_unit(c.operands[0].shape(), roles.lhs_contract, rule.unit);
  const Expr result = ir::apply(c.node.op->name, {lhs.x, rhs.x},
                                {{"lhs_batch", lhs.batch},
                                 {"rhs_batch", rhs.batch},
                                 {"lhs_contract", lhs.contract},
                                 {"rhs_contract", rhs.contract},
                                 {"half_plane", c.node.attributes.get<Integers>("half_plane")},
                                 {"part_unit", unit},
                                 {"part_chain", rule.chain}});
  return ir::reshape(result, c.node.types[0].shape);
}

/// lhs is read through an index map that reshape would put into memory, or made of tiles in the
/// same kernel: only rhs's free axes become one.
Expr canonical_windows(const ir::RewriteContext& c, const Roles& roles) {
  Integers lists = concatenated({roles.rhs_batch, roles.rhs_contract});
  Expr rhs = c.operands[1];
  Integers batch = roles.rhs_batch;
  Integers contract = roles.rhs_contract;
  if (roles.rhs_free.size() != 1) {
    Shape shape;
    for (std::int64_t axis : lists) shape.push_back(rhs.shape()[at(axis)]);
    shape.push_back(product(rhs.shape(), roles.rhs_free));
    rhs = ir::reshape(ir::transpose(rhs, concatenated({lists, roles.rhs_free})), shape);
    for (std::size_t i = 0; i < lists.size(); ++i) {
      (i < batch.size() ? batch[i] : contract[i - batch.size()]) = static_cast<std::int64_t>(i);
    }
  }
  const ir::PartRule rule = ir::part_rule(c.node.attributes);
  const Expr result = ir::apply(c.node.op->name, {c.operands[0], rhs},
                                {{"lhs_batch", roles.lhs_batch},
                                 {"rhs_batch", batch},
                                 {"lhs_contract", roles.lhs_contract},
                                 {"rhs_contract", contract},
                                 {"half_plane", c.node.attributes.get<Integers>("half_plane")},
                                 {"part_unit", rule.unit},
                                 {"part_chain", rule.chain}});
  return ir::reshape(result, c.node.types[0].shape);
}

std::optional<Expr> canonicalize(const ir::RewriteContext& c) {
  if (!is_contraction(c.node)) return std::nullopt;
  const Roles roles(c);
  const Expr lhs = c.operands[0];
  const OperandRead read = operand_read(*lhs.graph, lhs.value.node);
  if (read.permuted() && !is_tile_op(*lhs.graph, read.node)) return canonical_product(c, roles);
  return canonical_windows(c, roles);
}

/// Parts run in parallel if outputs would make fewer tasks than this ...
constexpr std::int64_t kFewTasks = 64;
/// ... and all partial results have no more bytes than this.
constexpr std::int64_t kPartialBytes = 8 * 1024 * 1024;
/// ... or than this where the rows of lhs may be made by the kernel that reads them (fuse.h), which
/// needs them whole.
constexpr std::int64_t kFewTasksOfMadeRows = 16;

/// Whether a value is made, element by element, of large results of short sums.
bool is_made_of_sums(const ir::Graph& graph, ir::NodeId value) {
  std::set<ir::NodeId> seen{value};
  std::vector<ir::NodeId> open{value};
  while (!open.empty()) {
    const ir::NodeId id = open.back();
    open.pop_back();
    if (is_cheap_to_repeat(graph, id)) return true;
    if (!std::holds_alternative<ir::ElementwiseComputation>(graph.node(id).op->compute)) continue;
    for (ir::Value operand : graph.operands(id)) {
      if (seen.insert(operand.node).second) open.push_back(operand.node);
    }
  }
  return false;
}

std::optional<Expr> split(const ir::RewriteContext& c) {
  if (!is_complete(c.node)) return std::nullopt;
  const Roles roles(c);
  const Shape& lhs = c.operands[0].shape();
  Shape contracted;
  for (std::int64_t axis : roles.lhs_contract) contracted.push_back(lhs[at(axis)]);
  const std::int64_t parts =
      ir::contraction_order(contracted, ir::part_rule(c.node.attributes)).parts.count;
  if (parts == 1 || parts * c.node.types[0].byte_size() > kPartialBytes) return std::nullopt;
  std::int64_t tasks = product(lhs, roles.lhs_batch) * product(lhs, roles.lhs_free);
  if (!roles.lhs_free.empty()) {
    const std::int64_t rows = lhs[at(roles.lhs_free.back())];
    tasks =
        tasks / std::max<std::int64_t>(rows, 1) * std::max<std::int64_t>(1, rows / kLeastTaskRows);
  }
  tasks *=
      std::max<std::int64_t>(1, product(c.operands[1].shape(), roles.rhs_free) / kLeastTaskColumns);
  const ir::Expr made = c.operands[0];
  const bool made_rows = is_made_of_sums(*made.graph, made.value.node);
  if (tasks >= (made_rows ? kFewTasksOfMadeRows : kFewTasks)) return std::nullopt;
  return ir::apply("combine", {ir::apply("dot_parts", c.operands, c.node.attributes)});
}

}  // namespace

ir::Graph drop_stop_gradients(const ir::Graph& graph) {
  return ir::rewrite(graph, [](const ir::RewriteContext& c) -> std::optional<Expr> {
    if (c.node.op != &ir::op("stop_gradient")) return std::nullopt;
    return c.operands[0];
  });
}

ir::Graph expand_small_contractions(const ir::Graph& graph) { return ir::rewrite(graph, expand); }

ir::Graph canonicalize_contractions(const ir::Graph& graph) {
  return ir::rewrite(graph, canonicalize);
}

ir::Graph split_contractions(const ir::Graph& graph) { return ir::rewrite(graph, split); }

ir::Graph split_sums(const ir::Graph& graph) {
  return ir::rewrite(graph, [](const ir::RewriteContext& c) -> std::optional<Expr> {
    const auto* reduction = std::get_if<ir::ReductionComputation>(&c.node.op->compute);
    if (!reduction || reduction->kind != ir::ReductionKind::sum) return std::nullopt;
    const Integers& axes = c.node.attributes.get<Integers>("axes");
    if (ir::sum_order(c.operands[0].shape(), axes).blocks.count == 1) return std::nullopt;
    return ir::apply("combine", {ir::apply("block_sum", {c.operands[0]}, {{"axes", axes}})});
  });
}

}  // namespace gradus::passes
