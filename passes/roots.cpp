#include "passes/roots.h"

#include <algorithm>
#include <map>

#include "ir/op.h"

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;
using ir::Value;

/// A scalar chain of at least this many instructions is computed once and not in every task.
constexpr std::int64_t kScalarRootCost = 3;
/// So many times as many elements are many.
constexpr std::int64_t kManyUses = 16;

bool is_elementwise(const Graph& graph, NodeId id) {
  return std::holds_alternative<ir::ElementwiseComputation>(graph.node(id).op->compute);
}
bool is_loop(const Graph& graph, NodeId id) {
  return std::holds_alternative<ir::ScanComputation>(graph.node(id).op->compute);
}

/// Axes of operand `o` of light node `id` in terms of `slots`, the relation of the node itself.
std::vector<int> compose(const ir::IndexMap& map, const Shape& operand, const Shape& node,
                         const std::vector<int>& slots) {
  std::vector<int> result;
  for (std::size_t axis = 0; axis < map.size(); ++axis) {
    const ir::AxisMap& entry = map[axis];
    const bool same_axis = !entry.chosen && entry.terms.size() == 1 &&
                           entry.terms[0].coefficient == 1 && entry.offset == 0 &&
                           entry.divisor == 1 &&
                           node[static_cast<std::size_t>(entry.terms[0].axis)] == operand[axis];
    if (operand[axis] == 1) {
      result.push_back(kUnitAxis);
    } else {
      result.push_back(same_axis ? slots[static_cast<std::size_t>(entry.terms[0].axis)]
                                 : kOtherIndex);
    }
  }
  return result;
}

/// `outer` after `inner`, where it is inside `operand` for every index of `shape`.
std::optional<ir::IndexMap> inside_map(const ir::IndexMap& outer, const ir::IndexMap& inner,
                                       const Shape& operand, const Shape& shape) {
  ir::IndexMap result;
  for (std::size_t axis = 0; axis < outer.size(); ++axis) {
    if (outer[axis].divisor != 1 || outer[axis].chosen) return std::nullopt;
    std::map<std::int64_t, std::int64_t> coefficients;
    std::int64_t offset = outer[axis].offset;
    for (const ir::AffineTerm& term : outer[axis].terms) {
      const ir::AxisMap& along = inner[static_cast<std::size_t>(term.axis)];
      offset += term.coefficient * along.offset;
      for (const ir::AffineTerm& t : along.terms) {
        coefficients[t.axis] += term.coefficient * t.coefficient;
      }
    }
    std::int64_t least = offset;
    std::int64_t greatest = offset;
    ir::AxisMap& map = result.emplace_back(ir::AxisMap{{}, offset, 1});
    for (const auto& [source, coefficient] : coefficients) {
      const std::int64_t last = shape[static_cast<std::size_t>(source)] - 1;
      if (coefficient == 0 || last == 0) continue;
      (coefficient > 0 ? greatest : least) += coefficient * last;
      map.terms.push_back({source, coefficient});
    }
    if (least < 0 || greatest >= operand[axis]) return std::nullopt;
  }
  return result;
}

}  // namespace

std::int64_t chain_cost(const Graph& graph, ProgramCosts& costs, std::vector<NodeId> ids,
                        const std::function<bool(NodeId)>& in_memory) {
  std::set<NodeId> seen;
  std::int64_t cost = 0;
  while (!ids.empty()) {
    const NodeId id = ids.back();
    ids.pop_back();
    if (in_memory(id) || !seen.insert(id).second) continue;
    cost += costs.of(id);
    for (Value operand : graph.operands(id)) ids.push_back(operand.node);
  }
  return cost;
}

RootFinder::RootFinder(const Graph& graph, bool every_op, ProgramCosts& costs)
    : graph_(graph), is_root_(graph.size()), costs_(costs), maps_(graph.size()) {
  for (NodeId id = 0; id < graph.size(); ++id) access_.push_back(access_of(graph, id));
  const std::vector<bool> live = graph.live();
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id]) continue;
    live_.push_back(id);
    if (access_[id] == Access::heavy) is_root_[id] = true;
    if (every_op && is_elementwise(graph, id) && !graph.operands(id).empty()) is_root_[id] = true;
    if (access_[id] == Access::alias) mark(memory_of(graph, graph.operands(id)[0].node));
    const std::vector<Value>& operands = graph.operands(id);
    for (std::size_t i = 0; i < operands.size(); ++i) {
      if (reads_whole(graph, id, i)) mark(operands[i].node);
    }
    if (is_loop(graph, id)) {
      for (Value operand : graph.operands(id)) mark(memory_of(graph, operand.node));
    }
    if (is_contraction(graph, id) || is_tile_op(graph, id)) {
      for (Value operand : graph.operands(id)) {
        mark(memory_of(graph, operand_read(graph, operand.node).node));
      }
    }
  }
  for (const ir::Result& result : graph.results()) mark(memory_of(graph, result.value.node));
  always_ = is_root_;
}

std::map<NodeId, Root> RootFinder::find(const std::set<NodeId>& also) {
  is_root_ = always_;
  for (NodeId id : also) mark(id);
  mark_few();
  std::map<NodeId, Root> roots;
  for (NodeId id : live_) {
    if (is_root_[id]) roots.emplace(id, root(id));
  }
  return roots;
}

void RootFinder::mark(NodeId id) {
  if (access_[id] == Access::light) is_root_[id] = true;
}

/// Chains on few elements that many elements use: scalars, and what is made of inputs and of
/// sums over all tasks only, such as the scale of a channel.
void RootFinder::mark_few() {
  std::vector<std::int64_t> cost(graph_.size());
  std::vector<bool> early(graph_.size());  // known before the tasks that use it begin
  for (NodeId id : live_) {
    const Access access = access_[id];
    early[id] = access == Access::leaf ||
                std::holds_alternative<ir::CombineComputation>(graph_.node(id).op->compute);
    if (access != Access::light || is_root_[id]) continue;
    cost[id] = costs_.of(id);
    early[id] = true;
    for (Value operand : graph_.operands(id)) {
      cost[id] += cost[operand.node];
      early[id] = early[id] && early[operand.node];
    }
    if (cost[id] < kScalarRootCost) continue;
    const bool scalar = graph_.node(id).types[0].rank() == 0;
    const std::int64_t own = graph_.node(id).types[0].element_count();
    for (NodeId user : graph_.users(id)) {
      const bool many = most_elements(user) >= kManyUses * own;
      if (scalar ? graph_.node(user).types[0].rank() > 0 : early[id] && many) is_root_[id] = true;
    }
  }
}

/// Of what the node, a broadcast in front of a window perhaps, gives.
std::int64_t RootFinder::most_elements(NodeId id) const {
  const ir::Node& node = graph_.node(id);
  std::int64_t most = node.types[0].element_count();
  if (node.op != &ir::op("broadcast")) return most;
  std::int64_t windows = 0;
  for (NodeId user : graph_.users(id)) {
    if (graph_.node(user).op != &ir::op("window")) return most;
    windows = std::max(windows, graph_.node(user).types[0].element_count());
  }
  return windows;
}

Root RootFinder::root(NodeId id) {
  Root result{iteration_of(graph_, id), {}, {}};
  seen_.clear();
  const std::vector<Value>& operands = graph_.operands(id);
  if (access_[id] == Access::heavy) {
    for (std::size_t i = 0; i < operands.size(); ++i) {
      std::vector<int> slots = result.iteration.operand_slots[i];
      const Shape& shape = graph_.type(operands[i]).shape;
      for (std::size_t axis = 0; axis < slots.size(); ++axis) {
        if (shape[axis] == 1) slots[axis] = kUnitAxis;
      }
      NodeId from = operands[i].node;
      if (is_contraction(graph_, id) || is_tile_op(graph_, id)) from = walk_movement(from, slots);
      walk(from, std::move(slots), reads_whole(graph_, id, i), result);
    }
  } else {
    std::vector<int> slots;
    for (int axis = 0; axis < graph_.node(id).types[0].rank(); ++axis) slots.push_back(axis);
    walk_operands(id, slots, result);
  }
  return result;
}

void RootFinder::walk_operands(NodeId id, const std::vector<int>& slots, Root& result) {
  const std::vector<Value>& operands = graph_.operands(id);
  std::vector<ir::IndexMap>& maps = maps_[id];
  if (maps.empty()) maps = operand_maps(graph_, id);
  for (std::size_t i = 0; i < operands.size(); ++i) {
    walk(operands[i].node,
         compose(maps[i], graph_.type(operands[i]).shape, graph_.node(id).types[0].shape, slots),
         reads_whole(graph_, id, i), result);
  }
}

/// Where a contraction or tile op reads operand `id`, even if a movement between is a root for
/// others; `slots` becomes the relation of that value.
NodeId RootFinder::walk_movement(NodeId id, std::vector<int>& slots) {
  const NodeId memory = operand_read(graph_, id).node;
  while (id != memory) {
    std::vector<ir::IndexMap>& maps = maps_[id];
    if (maps.empty()) maps = operand_maps(graph_, id);
    const Value operand = graph_.operands(id)[0];
    slots = compose(maps[0], graph_.type(operand).shape, graph_.node(id).types[0].shape, slots);
    id = operand.node;
  }
  return id;
}

void RootFinder::walk(NodeId id, std::vector<int> slots, bool through_view, Root& result) {
  if (!seen_.emplace(id, slots, through_view).second) return;
  if (is_root_[id]) {
    result.roots.push_back({id, std::move(slots), through_view});
    return;
  }
  switch (access_[id]) {
    case Access::leaf:
      result.leaves.push_back({id, std::move(slots), through_view});
      break;
    case Access::alias: {
      const Value operand = graph_.operands(id)[0];
      const std::size_t rank = graph_.type(operand).shape.size();
      walk(operand.node, std::vector<int>(rank, kOtherIndex), true, result);
      break;
    }
    case Access::light:
      walk_operands(id, slots, result);
      break;
    case Access::heavy:
      GRADUS_CHECK(false, "a heavy node is a root");
  }
}

NodeId memory_of(const Graph& graph, NodeId id) {
  while (std::holds_alternative<ir::ViewComputation>(graph.node(id).op->compute)) {
    id = graph.operands(id)[0].node;
  }
  return id;
}

bool OperandRead::permuted() const {
  return std::ranges::all_of(map, [](const ir::AxisMap& axis) {
    return axis.terms.empty()
               ? axis.offset == 0
               : axis.terms.size() == 1 && axis.terms[0].coefficient == 1 && axis.offset == 0;
  });
}

bool OperandRead::distinct(const Shape& operand) const {
  std::set<std::int64_t> used;
  for (const ir::AxisMap& axis : map) {
    std::vector<ir::AffineTerm> terms = axis.terms;
    std::ranges::sort(terms, {}, &ir::AffineTerm::coefficient);
    std::int64_t reached = 1;  // what the terms before can add, and one more
    for (const ir::AffineTerm& term : terms) {
      if (term.coefficient < reached || !used.insert(term.axis).second) return false;
      reached += term.coefficient * (operand[static_cast<std::size_t>(term.axis)] - 1);
    }
  }
  return true;
}

OperandRead operand_read(const Graph& graph, NodeId id) {
  const Shape shape = graph.node(id).types[0].shape;
  OperandRead result{id, {}};
  for (int axis = 0; axis < graph.node(id).types[0].rank(); ++axis) {
    result.map.push_back(ir::AxisMap{{{axis, 1}}, 0, 1});
  }
  while (access_of(graph, result.node) == Access::light && !is_elementwise(graph, result.node) &&
         graph.operands(result.node).size() == 1) {
    const Value operand = graph.operands(result.node)[0];
    std::optional<ir::IndexMap> inner = inside_map(operand_maps(graph, result.node)[0], result.map,
                                                   graph.type(operand).shape, shape);
    if (!inner) break;
    result = {operand.node, std::move(*inner)};
  }
  return result;
}

}  // namespace gradus::passes
