#include "passes/access.h"

#include <algorithm>

#include "base/overloaded.h"
#include "ir/indexing.h"
#include "ir/math.h"
#include "ir/op.h"
#include "ir/order.h"

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;
using ir::Value;

ir::IndexMap identity_map(std::int64_t rank) {
  ir::IndexMap map;
  for (std::int64_t axis = 0; axis < rank; ++axis) map.push_back({{{axis, 1}}, 0, 1});
  return map;
}

std::vector<int> identity_slots(std::int64_t rank) {
  std::vector<int> slots;
  for (int axis = 0; axis < rank; ++axis) slots.push_back(axis);
  return slots;
}

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

bool contains(const ir::Integers& axes, std::int64_t axis) {
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}

Iteration iterate_reduction(const Graph& graph, NodeId id, bool blocks) {
  const TensorType type = graph.type(graph.operands(id)[0]);
  const ir::Integers axes = reduced_axes(graph, id);
  Iteration iteration{type.shape, {}, -1, {identity_slots(type.rank())}};
  if (blocks) {
    iteration.block_slot = static_cast<int>(ir::sum_order(type.shape, axes).block_axis);
    iteration.result_slot.push_back(-1);
  }
  for (int axis = 0; axis < type.rank(); ++axis) {
    if (!contains(axes, axis)) iteration.result_slot.push_back(axis);
  }
  return iteration;
}

Iteration iterate_tiles(const Graph& graph, NodeId id) {
  const Shape& shape = graph.node(id).types[0].shape;
  const auto& inside = graph.node(id).attributes.get<ir::Integers>("axes");
  Iteration iteration{{}, {}, -1, {{}}};
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    const bool in_tile = contains(inside, static_cast<std::int64_t>(axis));
    const int slot = static_cast<int>(iteration.extents.size());
    iteration.result_slot.push_back(in_tile ? kTileSlot : slot);
    iteration.operand_slots[0].push_back(in_tile ? -1 : slot);
    if (!in_tile) iteration.extents.push_back(shape[axis]);
  }
  return iteration;
}

/// Along the axes of the updates.
Iteration iterate_scatter(const Graph& graph, NodeId id) {
  const ir::Node& node = graph.node(id);
  const std::vector<TensorType> types = operand_types(graph, id);
  const ir::IndexedAxes axes = ir::indexed_axes(node.attributes, types[1]);
  Iteration iteration{types[0].shape, {}, -1, {identity_slots(types[0].rank()), {}}};
  for (const ir::AxisMap& map : ir::index_map_of_indices(axes)) {
    iteration.operand_slots[1].push_back(static_cast<int>(map.terms[0].axis));
  }
  for (const ir::AxisMap& map : ir::index_map_of_indexed(axes, node.types[0].rank())) {
    iteration.result_slot.push_back(map.chosen ? kOrderedSlot
                                               : static_cast<int>(map.terms[0].axis));
  }
  return iteration;
}

/// Its kernels are those of its body: it has no axes here.
Iteration iterate_scan(const Graph& graph, NodeId id) {
  const auto none = [](std::int64_t rank) {
    return std::vector<int>(static_cast<std::size_t>(rank), -1);
  };
  Iteration iteration{{}, none(graph.node(id).types[0].rank()), -1, {}};
  for (Value operand : graph.operands(id)) {
    iteration.operand_slots.push_back(none(graph.type(operand).rank()));
  }
  return iteration;
}

/// Iteration axes of a contraction: batch, lhs free, rhs free, contracted.
Iteration iterate_contraction(const Graph& graph, NodeId id) {
  const ir::Attributes& attributes = graph.node(id).attributes;
  const auto axes = [&](std::string_view name) { return attributes.get<ir::Integers>(name); };
  const std::vector<TensorType> types = operand_types(graph, id);
  const bool parts = std::get<ir::ContractionComputation>(graph.node(id).op->compute).parts;
  Iteration iteration;
  iteration.extents = graph.node(id).types[0].shape;
  if (parts) iteration.extents.erase(iteration.extents.begin());
  iteration.result_slot = identity_slots(static_cast<std::int64_t>(iteration.extents.size()));
  if (parts) iteration.result_slot.insert(iteration.result_slot.begin(), -1);
  int next_free = static_cast<int>(axes("lhs_batch").size());
  const int first_contracted = static_cast<int>(iteration.extents.size());
  for (std::size_t side = 0; side < 2; ++side) {
    const ir::Integers batch = axes(side == 0 ? "lhs_batch" : "rhs_batch");
    const ir::Integers contract = axes(side == 0 ? "lhs_contract" : "rhs_contract");
    std::vector<int> slots(types[side].shape.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
      slots[static_cast<std::size_t>(batch[i])] = static_cast<int>(i);
    }
    for (std::size_t i = 0; i < contract.size(); ++i) {
      slots[static_cast<std::size_t>(contract[i])] = first_contracted + static_cast<int>(i);
    }
    for (std::size_t axis = 0; axis < slots.size(); ++axis) {
      const auto a = static_cast<std::int64_t>(axis);
      if (!contains(batch, a) && !contains(contract, a)) slots[axis] = next_free++;
    }
    iteration.operand_slots.push_back(std::move(slots));
  }
  for (std::int64_t axis : axes("lhs_contract")) {
    iteration.extents.push_back(types[0].shape[static_cast<std::size_t>(axis)]);
  }
  if (parts) {
    const std::span<const std::int64_t> contracted =
        std::span(iteration.extents).subspan(static_cast<std::size_t>(first_contracted));
    iteration.block_slot = first_contracted + static_cast<int>(std::max<std::int64_t>(
                                                  ir::contraction_order(contracted).part_axis, 0));
  }
  return iteration;
}

}  // namespace

std::vector<TensorType> operand_types(const Graph& graph, NodeId id) {
  std::vector<TensorType> types;
  for (Value operand : graph.operands(id)) types.push_back(graph.type(operand));
  return types;
}

std::optional<ir::IndexMap> split_map(const Shape& operand, const Shape& result) {
  ir::IndexMap map(operand.size());
  std::size_t at = result.size();
  for (std::size_t axis = operand.size(); axis-- > 0;) {
    std::int64_t rest = operand[axis];
    std::int64_t stride = 1;
    while (rest != 1) {
      while (at > 0 && result[at - 1] == 1) --at;
      if (at == 0 || result[at - 1] == 0 || rest % result[at - 1] != 0) return std::nullopt;
      --at;
      map[axis].terms.push_back({static_cast<std::int64_t>(at), stride});
      stride *= result[at];
      rest /= result[at];
    }
    std::reverse(map[axis].terms.begin(), map[axis].terms.end());
  }
  while (at > 0 && result[at - 1] == 1) --at;
  if (at != 0) return std::nullopt;
  return map;
}

Access access_of(const Graph& graph, NodeId id) {
  const ir::Node& node = graph.node(id);
  return std::visit(overloaded{
                        [](const ir::InputComputation&) { return Access::leaf; },
                        [&](const ir::ConstantComputation&) {
                          return node.types[0].rank() == 0 ? Access::light : Access::leaf;
                        },
                        [](const ir::ElementwiseComputation&) { return Access::light; },
                        [](const ir::MovementComputation&) { return Access::light; },
                        [&](const ir::ViewComputation&) {
                          const Shape& from = graph.type(graph.operands(id)[0]).shape;
                          return split_map(from, node.types[0].shape) ? Access::light
                                                                      : Access::alias;
                        },
                        [](const ir::TileComputation&) { return Access::heavy; },
                        [](const ir::ReductionComputation&) { return Access::heavy; },
                        [](const ir::BlockSumComputation&) { return Access::heavy; },
                        [](const ir::CombineComputation&) { return Access::heavy; },
                        [](const ir::ContractionComputation&) { return Access::heavy; },
                        [](const ir::ConvolutionComputation&) { return Access::heavy; },
                        [](const ir::GatherComputation&) { return Access::light; },
                        [](const ir::ScatterComputation&) { return Access::heavy; },
                        [](const ir::CumulativeComputation&) { return Access::heavy; },
                        [](const ir::SortComputation&) { return Access::heavy; },
                        [](const ir::ScanComputation&) { return Access::heavy; },
                        [](const ir::ResultComputation&) { return Access::leaf; },
                    },
                    node.op->compute);
}

bool is_contraction(const ir::Node& node) {
  return std::holds_alternative<ir::ContractionComputation>(node.op->compute);
}

bool is_contraction(const Graph& graph, NodeId id) { return is_contraction(graph.node(id)); }

bool is_dot(const Graph& graph, NodeId id) { return graph.node(id).op == &ir::op("dot"); }

bool is_tile_op(const Graph& graph, NodeId id) {
  return std::holds_alternative<ir::TileComputation>(graph.node(id).op->compute);
}

bool is_gather(const Graph& graph, NodeId id) {
  return std::holds_alternative<ir::GatherComputation>(graph.node(id).op->compute);
}

bool runs_in_order(const Graph& graph, NodeId id) {
  const ir::Computation& compute = graph.node(id).op->compute;
  return std::holds_alternative<ir::ScatterComputation>(compute) ||
         std::holds_alternative<ir::CumulativeComputation>(compute);
}

bool reads_whole(const Graph& graph, NodeId id, std::size_t operand) {
  return is_gather(graph, id) || (operand == 1 && std::holds_alternative<ir::ScatterComputation>(
                                                      graph.node(id).op->compute));
}

std::vector<ir::IndexMap> operand_maps(const Graph& graph, NodeId id) {
  const ir::Node& node = graph.node(id);
  const std::vector<TensorType> types = operand_types(graph, id);
  if (const auto* movement = std::get_if<ir::MovementComputation>(&node.op->compute)) {
    return movement->maps(types, node.types[0], node.attributes);
  }
  std::vector<ir::IndexMap> maps;
  if (std::holds_alternative<ir::ViewComputation>(node.op->compute)) {
    std::optional<ir::IndexMap> map = split_map(types[0].shape, node.types[0].shape);
    GRADUS_CHECK(map.has_value(), "a reshape that merges axes has no index map");
    maps.push_back(std::move(*map));
    return maps;
  }
  if (is_gather(graph, id)) {
    const ir::IndexedAxes axes = ir::indexed_axes(node.attributes, types[1]);
    return {ir::index_map_of_indexed(axes, types[0].rank()), ir::index_map_of_indices(axes)};
  }
  for (const TensorType& type : types) maps.push_back(identity_map(type.rank()));
  return maps;
}

ir::Integers reduced_axes(const Graph& graph, NodeId id) {
  const ir::Node& node = graph.node(id);
  if (std::holds_alternative<ir::CombineComputation>(node.op->compute)) return {0};
  ir::Integers axes = node.attributes.get<ir::Integers>("axes");
  std::sort(axes.begin(), axes.end());
  return axes;
}

Iteration iteration_of(const Graph& graph, NodeId id) {
  const auto over_result = [&] {
    const TensorType& type = graph.node(id).types[0];
    return Iteration{type.shape, identity_slots(type.rank()), -1, {}};
  };
  return std::visit(
      overloaded{
          [&](const ir::TileComputation&) { return iterate_tiles(graph, id); },
          [&](const ir::ReductionComputation&) { return iterate_reduction(graph, id, false); },
          [&](const ir::BlockSumComputation&) { return iterate_reduction(graph, id, true); },
          [&](const ir::CombineComputation&) { return iterate_reduction(graph, id, false); },
          [&](const ir::ContractionComputation&) { return iterate_contraction(graph, id); },
          [](const ir::ConvolutionComputation&) -> Iteration {
            throw InternalError("a convolution is lowered before it is fused");
          },
          [](const ir::SortComputation&) -> Iteration {
            throw InternalError("a sort is lowered before it is fused");
          },
          [&](const ir::ScatterComputation&) { return iterate_scatter(graph, id); },
          [&](const ir::CumulativeComputation&) {
            Iteration iteration = over_result();
            iteration.operand_slots = {iteration.result_slot};
            iteration.result_slot[at(graph.node(id).attributes.get<std::int64_t>("axis"))] =
                kOrderedSlot;
            return iteration;
          },
          [&](const ir::GatherComputation&) { return over_result(); },
          [&](const ir::ScanComputation&) { return iterate_scan(graph, id); },
          [&](const ir::ResultComputation&) { return over_result(); },
          [&](const ir::InputComputation&) { return over_result(); },
          [&](const ir::ConstantComputation&) { return over_result(); },
          [&](const ir::ElementwiseComputation&) { return over_result(); },
          [&](const ir::MovementComputation&) { return over_result(); },
          [&](const ir::ViewComputation&) { return over_result(); },
      },
      graph.node(id).op->compute);
}

ir::Cut block_cut(const Graph& graph, NodeId id) {
  const ir::Node& node = graph.node(id);
  const Shape& shape = graph.type(graph.operands(id)[0]).shape;
  if (!is_contraction(graph, id)) {
    return ir::sum_order(shape, reduced_axes(graph, id)).blocks;
  }
  std::vector<std::int64_t> extents;
  for (std::int64_t axis : node.attributes.get<ir::Integers>("lhs_contract")) {
    extents.push_back(shape[static_cast<std::size_t>(axis)]);
  }
  return ir::contraction_order(extents, ir::part_rule(node.attributes)).parts;
}

ContractionCounts contraction_counts(const Graph& graph, NodeId id) {
  const ir::Attributes& attributes = graph.node(id).attributes;
  const std::vector<TensorType> types = operand_types(graph, id);
  const std::size_t batch = attributes.get<ir::Integers>("lhs_batch").size();
  const std::size_t contracted = attributes.get<ir::Integers>("lhs_contract").size();
  return {batch, types[0].shape.size() - batch - contracted,
          types[1].shape.size() - batch - contracted, contracted};
}

std::int64_t program_cost(const Graph& graph, NodeId id) {
  const ir::Node& node = graph.node(id);
  const auto* elementwise = std::get_if<ir::ElementwiseComputation>(&node.op->compute);
  if (!elementwise) return 0;
  const ir::ScalarProgram program = ir::record_elementwise(*elementwise, operand_types(graph, id),
                                                           node.types[0], node.attributes);
  std::int64_t cost = 0;
  for (const ir::ScalarInstruction& instruction : program.code) {
    if (instruction.op == ir::ScalarOp::call) {
      cost += static_cast<std::int64_t>(
          ir::math_functions()[instruction.immediate].program.code.size());
    } else if (instruction.op != ir::ScalarOp::operand &&
               instruction.op != ir::ScalarOp::constant && instruction.op != ir::ScalarOp::index) {
      ++cost;
    }
  }
  return cost;
}

std::int64_t ProgramCosts::of(NodeId id) {
  if (!known_[id]) known_[id] = program_cost(graph_, id);
  return *known_[id];
}

}  // namespace gradus::passes
