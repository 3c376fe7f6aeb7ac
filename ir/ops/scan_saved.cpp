#include "ir/ops/scan_saved.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "ir/hoist.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

/// Whether a node computes exp, tanh or the like.
bool calls_function(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const auto* compute = std::get_if<ElementwiseComputation>(&node.op->compute);
  if (compute == nullptr) return false;
  std::vector<TensorType> operands;
  for (Value x : graph.operands(id)) operands.push_back(graph.type(x));
  const ScalarProgram program =
      record_elementwise(*compute, operands, node.types[0], node.attributes);
  return std::ranges::any_of(program.code, [](const ScalarInstruction& instruction) {
    return instruction.op == ScalarOp::call;
  });
}

/// Bytes of the slices that the backward body would read, but for those that are stacked anyway.
std::int64_t saved_bytes(const Graph& backward, const ScanSignature& signature,
                         const SavedValues& saved) {
  std::vector<bool> needed(backward.size());
  for (const Result& result : backward.results()) needed[result.value.node] = true;
  std::int64_t bytes = 0;
  for (NodeId id = static_cast<NodeId>(backward.size()); id-- > 0;) {
    if (!needed[id]) continue;
    const auto found = saved.find(id);
    if (found == saved.end()) {
      for (Value x : backward.operands(id)) needed[x.node] = true;
    } else if (!output_of(signature, found->second)) {
      bytes += backward.node(id).types[0].byte_size();
    }
  }
  return bytes;
}

}  // namespace

// Contractions and reductions; and functions like tanh in place of what they are made of, while
// that takes no more memory: those that no other function is part of, then those of these.
SavedValues choose_saved(const Graph& forward, const ScanSignature& signature,
                         const Graph& backward, const Moved& moved) {
  std::vector<bool> depends(forward.size());
  std::vector<std::size_t> depth(forward.size());  // functions on the way to a value
  for (NodeId id : signature.carried) depends[id] = true;
  SavedValues chosen;
  std::vector<SavedValues> functions;  // by depth
  for (NodeId id = 0; id < forward.size(); ++id) {
    for (Value x : forward.operands(id)) {
      depends[id] = depends[id] || depends[x.node];
      depth[id] = std::max(depth[id], depth[x.node]);
    }
    const Node& node = forward.node(id);
    const bool function = calls_function(forward, id);
    if (function && functions.size() < ++depth[id]) functions.emplace_back();
    if (!depends[id] || node.types.size() != 1 || !moved[id]) continue;
    if (is_dear(node)) chosen[moved[id]->node] = id;
    if (function) functions[depth[id] - 1][moved[id]->node] = id;
  }
  for (const SavedValues& next : functions) {
    SavedValues more = chosen;
    more.insert(next.begin(), next.end());
    if (saved_bytes(backward, signature, more) > saved_bytes(backward, signature, chosen)) break;
    chosen = std::move(more);
  }
  return chosen;
}

std::optional<std::size_t> output_of(const ScanSignature& signature, NodeId id) {
  for (std::size_t i = 0; i < signature.outputs.size(); ++i) {
    if (signature.outputs[i].value == Value{id, 0}) return i;
  }
  return std::nullopt;
}

}  // namespace gradus::ir
