// Token by token every contraction fetches its weights for each token; in one run they are fetched
// once, and computing is what remains. What a token so fetches in vain is the larger of both
// operands' bytes less what could have been fetched while computing; that it is compared with what
// could have been fetched while another kernel of the contraction is compiled.

#include "tools/prefill.h"

#include <algorithm>
#include <vector>

#include "ir/op.h"

namespace gradus::tools {
namespace {

// Of one core of a server: measured where a token of GPT-2 takes 36 ms, its 97 contractions
// a third of a second to compile.
constexpr double kFlopsPerByte = 4;
constexpr double kBytesPerCompilation = 50e6;

/// What a contraction of a token does.
struct Contraction {
  double bytes = 0;
  double flops = 0;
};

Contraction contraction_of(const ir::Graph& graph, ir::NodeId id) {
  const ir::Node& node = graph.node(id);
  const std::vector<ir::Value>& operands = graph.operands(id);
  Contraction found;
  for (const ir::Value operand : operands) {
    found.bytes += static_cast<double>(graph.type(operand).byte_size());
  }
  found.flops = 2 * static_cast<double>(node.types[0].element_count());
  for (const std::int64_t axis : node.attributes.get<ir::Integers>("lhs_contract")) {
    found.flops *=
        static_cast<double>(graph.type(operands[0]).shape[static_cast<std::size_t>(axis)]);
  }
  return found;
}

}  // namespace

bool is_prefill_worthwhile(const ir::Graph& graph, std::int64_t count) {
  const std::vector<bool> live = graph.live();
  double saved = 0;
  double contractions = 0;
  for (ir::NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id] || graph.node(id).op->name != "dot") continue;
    const Contraction work = contraction_of(graph, id);
    saved += std::max(0.0, work.bytes - work.flops / kFlopsPerByte);
    contractions += 1;
  }
  return static_cast<double>(count) * saved > contractions * kBytesPerCompilation;
}

}  // namespace gradus::tools
