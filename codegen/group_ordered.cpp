#include "codegen/group_ordered.h"

#include <algorithm>

#include "ir/indexing.h"
#include "ir/op.h"

namespace gradus::codegen {
namespace {

using ir::NodeId;

class OrderedRoot {
 public:
  OrderedRoot(const ir::Graph& graph, NodeId id, GroupLoops& loops, GroupBuffers& buffers,
              Kernel& kernel, const BodySource& source)
      : graph_(graph),
        id_(id),
        type_(graph.node(id).types[0]),
        loops_(loops),
        buffers_(buffers),
        kernel_(kernel),
        source_(source) {
    for (int axis : loops.axes_of(id)) {
      index_.push_back(axis < 0 ? Affine{} : Affine{{{axis, 1}}, 0, 1});
    }
    const std::vector<int>& slots = loops.iteration(id).result_slot;
    along_ =
        static_cast<std::size_t>(std::ranges::find(slots, passes::kOrderedSlot) - slots.begin());
    for (int slot : slots) {
      target_.push_back(slot < 0 ? Affine{} : index_[static_cast<std::size_t>(slot)]);
    }
  }

  std::vector<Loop> run() {
    const bool scatters = graph_.operands(id_).size() == 2;
    std::vector<Loop> loops;
    if (scatters) loops.push_back(zeros());
    loops.push_back(scatters ? scatter() : accumulate());
    return loops;
  }

 private:
  [[nodiscard]] Access target(bool written) {
    return {buffers_.parameter({id_}, type_, written), target_};
  }

  Loop zeros() {
    Loop loop;
    Access all = target(/*written=*/true);
    const auto positions = static_cast<AxisId>(kernel_.axes.size());
    kernel_.axes.push_back({"at", type_.shape[along_], -1});
    all.index[along_] = {{{positions, 1}}, 0, 1};
    for (const Affine& index : all.index) {
      if (!index.terms.empty()) loop.axes.push_back(index.terms[0].axis);
    }
    ir::ScalarBuilder builder({});
    loop.body.program = builder.finish({builder.constant_bits(type_.element, 0)});
    loop.stores.push_back({all, 0});
    return loop;
  }

  Loop scatter() {
    Loop loop = empty_loop();
    const ir::Value indices = graph_.operands(id_)[1];
    const ir::IndexedAxes axes =
        ir::indexed_axes(graph_.node(id_).attributes, graph_.type(indices));
    std::vector<Affine> place;
    for (const ir::AxisMap& map : ir::index_map_of_indices(axes)) {
      place.push_back(index_[static_cast<std::size_t>(map.terms[0].axis)]);
    }
    BodyBuilder body(graph_, kernel_.axes, source_);
    const Pick pick{static_cast<std::int32_t>(along_),
                    body.pick(id_, indices.node, place, type_.shape[along_])};
    return finish(std::move(loop), body, pick, {});
  }

  Loop accumulate() {
    Loop loop = empty_loop();
    target_[along_] = index_[along_];
    BodyBuilder body(graph_, kernel_.axes, source_);
    std::vector<Guard> guards;
    Affine before = index_[along_];
    before.offset = -1;
    guards.push_back({before, type_.shape[along_]});
    return finish(std::move(loop), body, std::nullopt, std::move(guards));
  }

  /// Its points run in order along the axes that the result does not have.
  Loop empty_loop() {
    Loop loop;
    loop.axes = loops_.preferred_order(id_);
    const std::vector<int>& slots = loops_.iteration(id_).result_slot;
    for (AxisId axis : loop.axes) {
      const auto slot = std::ranges::find(loops_.axes_of(id_), axis) - loops_.axes_of(id_).begin();
      const bool own = slot < std::ssize(index_);  // else an axis of one position
      if (own && std::ranges::count(slots, static_cast<int>(slot)) == 0) {
        loop.ordered.push_back(axis);
      }
    }
    return loop;
  }

  /// target = what lies there, at the position before it with `guards`, plus the operand.
  Loop finish(Loop loop, BodyBuilder& body, std::optional<Pick> pick, std::vector<Guard> guards) {
    Access to = target(/*written=*/true);
    to.pick = pick;
    Load from{target(/*written=*/false), std::move(guards)};
    from.access.pick = pick;
    if (!from.guards.empty()) from.access.index[along_].offset = -1;
    const NodeId operand = graph_.operands(id_)[0].node;
    loop.stores.push_back({to, body.added(std::move(from), operand, index_)});
    loop.body = body.finish();
    return loop;
  }

  const ir::Graph& graph_;
  NodeId id_;
  TensorType type_;
  GroupLoops& loops_;
  GroupBuffers& buffers_;
  Kernel& kernel_;
  const BodySource& source_;
  std::vector<Affine> index_;   // of the first operand
  std::vector<Affine> target_;  // of the result
  std::size_t along_ = 0;       // axis of the result
};

}  // namespace

std::vector<Loop> ordered_loops(const ir::Graph& graph, NodeId id, GroupLoops& loops,
                                GroupBuffers& buffers, Kernel& kernel, const BodySource& source) {
  return OrderedRoot(graph, id, loops, buffers, kernel, source).run();
}

}  // namespace gradus::codegen
