#include "codegen/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/check.h"
#include "codegen/body.h"
#include "codegen/exchange.h"
#include "codegen/group_buffers.h"
#include "codegen/group_loops.h"
#include "codegen/group_ordered.h"
#include "ir/half_plane.h"
#include "ir/op.h"
#include "passes/access.h"
#include "passes/roots.h"

namespace gradus::codegen {
namespace {

using ir::Graph;
using ir::NodeId;
using passes::Group;

/// Panels are packed in at most so many tasks.
constexpr std::int64_t kMostPackingTasks = 1024;

/// The stages of a group's kernel.
class GroupScheduler {
 public:
  GroupScheduler(const Graph& graph, const passes::FusionPlan& plan, std::size_t number,
                 const Target& target, const Chooser& choose, std::int64_t loop_length)
      : graph_(graph),
        plan_(plan),
        group_(plan.groups[number]),
        target_(target),
        loops_(graph, plan, group_, target, choose, loop_length, kernel_),
        buffers_(graph, plan, loops_, kernel_) {
    kernel_.name =
        fmt::format("{}_{}_{}", graph.name(), number, graph.node(group_.roots.back()).op->name);
  }

  std::vector<ScheduledKernel> run() {
    make_stages();
    buffers_.finish();
    describe();
    std::vector<ScheduledKernel> kernels = std::move(packs_);
    kernels.push_back({std::move(kernel_), buffers_.parameters(), operations_, loops_.considered(),
                       loops_.chosen()});
    return kernels;
  }

 private:
  void make_stages() {
    std::map<int, std::vector<NodeId>> by_level;
    for (NodeId id : group_.roots) by_level[loops_.level(id)].push_back(id);
    for (auto& [level, roots] : by_level) {
      for (NodeId id : roots) {
        if (loops_.stage_of(id) == id) kernel_.stages.push_back(contract(id));
      }
      std::erase_if(roots, [&](NodeId id) {
        return loops_.stage_of(id).has_value() || loops_.is_assembled(id);
      });
      if (roots.empty()) continue;
      if (passes::runs_in_order(graph_, roots.front())) {
        run_in_order(roots.front(), level);
        continue;
      }
      for (const auto& [order, members] : loops_of(roots)) {
        kernel_.stages.push_back(loop(order, members, level));
      }
    }
  }

  /// Roots of one level by the loop that computes them. Reductions fix the order of axes, light
  /// roots join a loop over the same box.
  std::vector<std::pair<AxisOrder, std::vector<NodeId>>> loops_of(
      const std::vector<NodeId>& roots) {
    std::vector<std::pair<AxisOrder, std::vector<NodeId>>> loops;
    const auto place = [&](NodeId id) {
      const AxisOrder order = loops_.preferred_order(id);
      for (auto& [known, members] : loops) {
        const bool same_box =
            std::set(known.begin(), known.end()) == std::set(order.begin(), order.end());
        if (known == order || (loops_.is_light(id) && same_box && known.back() == order.back())) {
          members.push_back(id);
          return;
        }
      }
      loops.push_back({order, {id}});
    };
    for (NodeId id : roots) {
      if (!loops_.is_light(id)) place(id);
    }
    for (NodeId id : roots) {
      if (loops_.is_light(id)) place(id);
    }
    return loops;
  }

  std::optional<Access> memory_access(NodeId id, const std::vector<Affine>& index, int level,
                                      const std::set<NodeId>& own) {
    if (own.contains(id)) return std::nullopt;
    const ir::Node& node = graph_.node(id);
    if (passes::access_of(graph_, id) == passes::Access::leaf) {
      return Access{buffers_.parameter({id}, node.types[0], false), index};
    }
    if (passes::access_of(graph_, id) == passes::Access::alias) {
      return Access{buffers_.parameter({passes::memory_of(graph_, id)}, node.types[0], false),
                    index};
    }
    if (!plan_.roots.contains(id)) return std::nullopt;
    if (!loops_.in_group(id)) return Access{buffers_.parameter({id}, node.types[0], false), index};
    if (level == loops_.level(id) && loops_.is_light(id)) return std::nullopt;
    return root_access(id, index, false);
  }

  /// Element `index` of a root of the group, where it is or belongs.
  Access root_access(NodeId id, std::vector<Affine> index, bool written) {
    if (auto place = loops_.place_in_whole(id, index)) {
      return root_access(place->first, std::move(place->second), written);
    }
    if (!loops_.is_output(id)) return {buffers_.scratch(id), std::move(index)};
    return {buffers_.parameter({id}, graph_.node(id).types[0], written), std::move(index)};
  }

  Access target_of(NodeId id) { return root_access(id, loops_.own_index(id), true); }

  Loop loop(const AxisOrder& order, const std::vector<NodeId>& members, int level) {
    Loop result;
    result.axes = order;
    std::set<NodeId> own;
    for (NodeId id : members) {
      if (loops_.is_light(id) || passes::is_tile_op(graph_, id)) own.insert(id);
    }
    BodyBuilder body(graph_, kernel_.axes,
                     {[&, own](NodeId id, const std::vector<Affine>& index) {
                        return memory_access(id, index, level, own);
                      },
                      -1});
    for (NodeId id : members) {
      if (loops_.is_light(id) || passes::is_tile_op(graph_, id)) {
        if (!loops_.needs_memory(id)) continue;
        for (std::vector<Affine>& index : loops_.own_indices(id)) {
          const std::int32_t value = body.result(id, index);
          result.stores.push_back({root_access(id, std::move(index), true), value});
        }
      } else {
        result.accumulates.push_back(accumulate(id, body));
      }
    }
    result.body = body.finish();
    result.provenance = origin(members);
    count_operations(order, result.body);
    return result;
  }

  void run_in_order(NodeId id, int level) {
    const BodySource source{[&](NodeId read, const std::vector<Affine>& index) {
                              return memory_access(read, index, level, {});
                            },
                            -1};
    for (Loop& each : ordered_loops(graph_, id, loops_, buffers_, kernel_, source)) {
      each.provenance = origin({id});
      count_operations(each.axes, each.body);
      kernel_.stages.push_back(std::move(each));
    }
  }

  Accumulate accumulate(NodeId id, BodyBuilder& body) {
    const ir::Value operand = graph_.operands(id)[0];
    const Shape& shape = graph_.type(operand).shape;
    const std::vector<int>& axes = loops_.axes_of(id);
    std::vector<Affine> index;
    for (int axis : axes) index.push_back(axis < 0 ? Affine{} : Affine{{{axis, 1}}, 0, 1});
    Accumulate result;
    result.value = body.result(operand.node, index);
    result.target = target_of(id);
    const ir::Integers reduced = passes::reduced_axes(graph_, id);
    for (std::int64_t axis : reduced) {
      const int domain = axes[static_cast<std::size_t>(axis)];
      if (domain >= 0) result.over.push_back(domain);
    }
    const ir::OpRecord& record = *graph_.node(id).op;
    if (const auto* reduction = std::get_if<ir::ReductionComputation>(&record.compute)) {
      result.kind = reduction->kind;
    }
    const bool combine = std::holds_alternative<ir::CombineComputation>(record.compute);
    result.lanes = result.kind == ir::ReductionKind::sum && !combine &&
                   ir::sum_order(shape, reduced).lanes && shape.back() > 1;
    return result;
  }

  /// Contraction `c` with the roots that its epilogue computes.
  Contract contract(NodeId c) {
    Contract result;
    ContractionAxes roles = loops_.contraction_axes(c);
    result.batch = std::move(roles.batch);
    result.rows = std::move(roles.rows);
    result.n = roles.n;
    result.k = std::move(roles.k);
    std::vector<std::int64_t> extents;
    for (AxisId k : result.k) extents.push_back(loops_.extent(k));
    result.parts = ir::contraction_order(extents, ir::part_rule(graph_.node(c).attributes)).parts;
    const bool own_task = std::get<ir::ContractionComputation>(graph_.node(c).op->compute).parts;
    if (own_task || result.parts.extent != extents[0]) result.parts = {extents[0], 1, 1};
    if (const auto counted = ir::half_plane(graph_.node(c).attributes)) {
      const std::array<AxisId, 3> axes{result.m(), result.n, result.k.front()};
      result.half_plane = {axes[static_cast<std::size_t>(counted->low)],
                           axes[static_cast<std::size_t>(counted->high)], counted->offset};
    }
    const ContractionChoice& choice = loops_.choice(c);
    result.tile = choice.tile;
    result.panel = choice.panel;
    result.copied = choice.copied;
    result.chunk = choice.chunk;
    result.order = choice.order;
    result.lhs = operand_access(c, 0);
    set_rhs(c, result);
    BodyBuilder body(graph_, kernel_.axes,
                     {[&](NodeId id, const std::vector<Affine>& index) {
                        return memory_access(id, index, loops_.level(c), {c});
                      },
                      static_cast<std::int64_t>(c)});
    for (NodeId id : group_.roots) {
      if (loops_.stage_of(id) != c || !loops_.needs_memory(id)) continue;
      if (loops_.is_assembled(id)) continue;
      const std::int32_t value = body.result(id, loops_.own_index(id));
      result.stores.push_back({target_of(id), value});
    }
    result.epilogue = body.finish();
    std::vector<NodeId> members;
    std::ranges::copy_if(group_.roots, std::back_inserter(members),
                         [&](NodeId id) { return loops_.stage_of(id) == c; });
    result.provenance = origin(members);
    operations_ += 2 * products(c, result);
    return exchange_one_column(kernel_, std::move(result), target_);
  }

  /// How many products contraction `c` adds.
  [[nodiscard]] std::int64_t products(NodeId c, const Contract& contract) const {
    const std::int64_t all = element_count(loops_.iteration(c).extents);
    if (!contract.half_plane || all == 0) return all;
    const std::int64_t low = loops_.extent(contract.half_plane->low);
    const std::int64_t high = loops_.extent(contract.half_plane->high);
    std::int64_t pairs = 0;
    for (std::int64_t position = 0; position < high; ++position) {
      pairs += std::clamp<std::int64_t>(position + contract.half_plane->offset + 1, 0, low);
    }
    return all / (low * high) * pairs;
  }

  /// Operand `side` of contraction `c` where it lies in memory.
  Access operand_access(NodeId c, std::size_t side) {
    auto [node, index] = loops_.operand_index(c, side);
    const NodeId value = passes::memory_of(graph_, node);
    if (loops_.in_group(value) && !loops_.is_output(value)) {
      return {buffers_.scratch(value), std::move(index)};
    }
    return {buffers_.parameter({value}, graph_.node(node).types[0], false), std::move(index)};
  }

  /// Reads the right operand in place, or packs it into panels in a kernel of its own.
  void set_rhs(NodeId c, Contract& result) {
    const std::size_t known = buffers_.parameters().size();
    const Access in_place = operand_access(c, 1);
    if (result.panel == 0) {
      result.rhs = in_place;
      return;
    }
    const TensorType type = kernel_.buffers[static_cast<std::size_t>(in_place.buffer)].type;
    const std::int64_t n = loops_.extent(result.n);
    std::int64_t k = 1;
    for (AxisId axis : result.k) k *= loops_.extent(axis);
    const Parameter source = buffers_.parameters()[static_cast<std::size_t>(in_place.buffer)];
    if (buffers_.parameters().size() > known) {  // only the packing kernel reads it
      buffers_.drop_newest();
    }
    const std::int64_t panels = (n + result.panel - 1) / result.panel;
    TensorType packed{type.element, {}};
    for (AxisId axis : result.batch) packed.shape.push_back(loops_.extent(axis));
    packed.shape.insert(packed.shape.end(), {panels, k, result.panel});
    const Parameter target{source.value, result.panel, c};
    packs_.push_back(pack(in_place, type, source, target, result));
    result.rhs.buffer = buffers_.parameter(target, packed, false);
    for (AxisId batch : result.batch) result.rhs.index.push_back({{{batch, 1}}, 0, 1});
  }

  /// A kernel that copies the right operand into panels; columns past n are 0.
  ScheduledKernel pack(const Access& in_place, const TensorType& type, const Parameter& source,
                       const Parameter& target, const Contract& contract) const {
    ScheduledKernel result;
    Kernel& kernel = result.kernel;
    kernel.name = kernel_.name + "_panels";
    std::map<AxisId, AxisId> renamed;  // axes of the contraction
    TensorType packed{type.element, {}};
    const auto add_axis = [&](std::string name, std::int64_t extent) {
      packed.shape.push_back(extent);
      kernel.axes.push_back({std::move(name), extent, -1});
      return static_cast<AxisId>(kernel.axes.size()) - 1;
    };
    const auto name = [&](AxisId axis) {
      return kernel_.axes[static_cast<std::size_t>(axis)].name;
    };
    for (AxisId axis : contract.batch) renamed[axis] = add_axis(name(axis), loops_.extent(axis));
    const std::int64_t n = loops_.extent(contract.n);
    const AxisId p = add_axis("panel", (n + contract.panel - 1) / contract.panel);
    for (AxisId axis : contract.k) renamed[axis] = add_axis(name(axis), loops_.extent(axis));
    const AxisId j = add_axis("column", contract.panel);
    const std::int64_t panels = kernel.axes[static_cast<std::size_t>(p)].extent;
    kernel.tasks.push_back({p, {panels, std::min(panels, kMostPackingTasks), 1}});
    kernel.buffers.push_back({"source", type, BufferRole::input, {}});
    kernel.buffers.push_back({"panels", packed, BufferRole::output, {}});
    const Affine column{{{p, contract.panel}, {j, 1}}, 0, 1};
    Access access{0, {}};
    for (const Affine& index : in_place.index) {
      std::map<AxisId, std::int64_t> terms;
      for (const Term& term : index.terms) {
        if (term.axis == contract.n) {
          terms[p] += term.coefficient * contract.panel;
          terms[j] += term.coefficient;
        } else {
          terms[renamed.at(term.axis)] += term.coefficient;
        }
      }
      Affine& moved = access.index.emplace_back(Affine{{}, index.offset, 1});
      for (const auto& [axis, coefficient] : terms) {
        if (coefficient != 0) moved.terms.push_back({axis, coefficient});
      }
    }
    Loop copy;
    for (AxisId axis = 0; axis <= j; ++axis) copy.axes.push_back(axis);
    Load load{access, {}};
    if (n % contract.panel != 0) load.guards.push_back({column, n});
    copy.body.loads.push_back(load);
    ir::ScalarBuilder builder({type.element});
    copy.body.program = builder.finish({builder.operand(0)});
    Access out{1, {}};
    for (AxisId axis : copy.axes) out.index.push_back({{{axis, 1}}, 0, 1});
    copy.stores.push_back({out, 0});
    kernel.stages.push_back(std::move(copy));
    result.parameters = {source, target};
    return result;
  }

  void count_operations(const AxisOrder& order, const Body& body) {
    std::int64_t points = 1;
    for (AxisId axis : order) points *= loops_.extent(axis);
    std::int64_t instructions = 0;
    for (const ir::ScalarInstruction& instruction : body.program.code) {
      if (is_float(instruction.type) && ir::info(instruction.op).arity > 0) ++instructions;
    }
    operations_ += points * instructions;
  }

  /// The model lines that these roots come from.
  std::string origin(const std::vector<NodeId>& roots) const {
    ir::Provenance provenance;
    for (NodeId id : roots) provenance.merge(graph_.node(id).provenance);
    return to_string(provenance);
  }

  void describe() {
    kernel_.provenance = origin(group_.roots);
    for (Stage& stage : kernel_.stages) {
      std::visit(
          [&](auto& s) {
            if (s.provenance == kernel_.provenance) s.provenance.clear();
          },
          stage);
    }
    for (ScheduledKernel& pack : packs_) pack.kernel.provenance = kernel_.provenance;
  }

  const Graph& graph_;
  const passes::FusionPlan& plan_;
  const Group& group_;
  const Target& target_;
  Kernel kernel_;
  GroupLoops loops_;
  GroupBuffers buffers_;
  std::vector<ScheduledKernel> packs_;  // kernels that run before
  std::int64_t operations_ = 0;
};

}  // namespace

std::vector<ScheduledKernel> schedule(const Graph& graph, const passes::FusionPlan& plan,
                                      std::size_t group, const Target& target,
                                      const Chooser& choose, std::int64_t loop_length) {
  return GroupScheduler(graph, plan, group, target, choose, loop_length).run();
}

}  // namespace gradus::codegen
