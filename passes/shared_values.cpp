#include "passes/shared_values.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "ir/op.h"

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;

/// A value whose instructions and loads are fewer is computed again.
constexpr double kLeastCost = 8;

class GroupValues {
 public:
  GroupValues(const Graph& graph, const FusionPlan& plan, const Group& group, ProgramCosts& costs)
      : graph_(graph), plan_(plan), group_(group), costs_(costs) {}

  std::set<NodeId> shared() {
    if (group_.roots.size() < 2) return {};
    for (NodeId id : group_.roots) loop_[id] = loop_of(id);
    // Readers come before what they read, so that what a kept value reads is wanted once.
    std::map<NodeId, std::set<LoopNumber>, std::greater<>> wanted;
    for (NodeId id : group_.roots) wanted[id] = {loop_.at(id)};
    while (!wanted.empty()) {
      auto [id, loops] = *wanted.begin();
      wanted.erase(wanted.begin());
      if (!group_.axes.contains(id)) {
        if (is_loaded(id)) continue;
        if (loops.size() > 1 && cost(id) >= kLeastCost) {
          kept_.insert(id);
          loops = {*loops.begin()};
        }
      }
      for (ir::Value operand : graph_.operands(id)) {
        if (group_.axes.contains(operand.node)) continue;
        wanted[operand.node].insert(loops.begin(), loops.end());
      }
    }
    // What is kept of its operands may have made a value cheap.
    const std::vector<NodeId> chosen(kept_.rbegin(), kept_.rend());
    for (NodeId id : chosen) {
      kept_.erase(id);
      if (cost(id) >= kLeastCost) kept_.insert(id);
    }
    return std::move(kept_);
  }

 private:
  /// How many loops come before, and the contraction whose loop it is.
  using LoopNumber = std::pair<int, std::optional<NodeId>>;

  /// A root runs in the loop of what it reads in a register, and after the loops of all else.
  LoopNumber loop_of(NodeId id) const {
    if (const auto epilogue = epilogue_of(id)) return *epilogue;
    const bool contraction = is_contraction(graph_, id);
    int before = 0;
    for (const Read& read : plan_.roots.at(id).roots) {
      const auto known = loop_.find(read.value);
      if (known == loop_.end()) continue;
      const bool in_register = !contraction && !known->second.second &&
                               access_of(graph_, read.value) == Access::light &&
                               same_point(id, read);
      before = std::max(before, known->second.first + (in_register ? 0 : 1));
    }
    return {before, contraction ? std::optional(id) : std::nullopt};
  }

  /// That of a contraction whose sums a light root takes from registers, where all else that it
  /// reads is there before.
  std::optional<LoopNumber> epilogue_of(NodeId id) const {
    if (access_of(graph_, id) != Access::light) return std::nullopt;
    std::optional<LoopNumber> last;
    for (const Read& read : plan_.roots.at(id).roots) {
      const auto known = loop_.find(read.value);
      if (known != loop_.end()) last = std::max(last, std::optional(known->second));
    }
    if (!last || !last->second) return std::nullopt;
    for (const Read& read : plan_.roots.at(id).roots) {
      const auto known = loop_.find(read.value);
      if (known == loop_.end() || known->second.first < last->first) continue;
      if (known->second != *last || !same_point(id, read)) return std::nullopt;
    }
    return last;
  }

  /// Group axes along which a root's results lie.
  std::set<int> box(NodeId id) const {
    const std::vector<int>& axes = group_.axes.at(id);
    std::size_t count = axes.size();
    if (is_contraction(graph_, id)) count -= contraction_counts(graph_, id).contracted;
    std::set<int> result(axes.begin(), axes.begin() + static_cast<std::ptrdiff_t>(count));
    result.erase(-1);
    return result;
  }

  bool same_point(NodeId reader, const Read& read) const {
    const std::vector<int>& axes = group_.axes.at(reader);
    const std::vector<int>& theirs = group_.axes.at(read.value);
    const std::vector<int>& results = plan_.roots.at(read.value).iteration.result_slot;
    for (std::size_t a = 0; a < read.slots.size(); ++a) {
      if (read.slots[a] == kUnitAxis) continue;
      if (read.slots[a] < 0 || results[a] < 0) return false;
      if (axes[static_cast<std::size_t>(read.slots[a])] !=
          theirs[static_cast<std::size_t>(results[a])]) {
        return false;
      }
    }
    return box(reader) == box(read.value);
  }

  [[nodiscard]] bool is_loaded(NodeId id) const {
    return plan_.roots.contains(id) || kept_.contains(id) || access_of(graph_, id) != Access::light;
  }

  /// Instructions and loads per element of `id`; what is smaller counts in proportion.
  double cost(NodeId id) {
    std::set<NodeId> seen;
    return cost(id, static_cast<double>(graph_.node(id).types[0].element_count()), seen);
  }
  double cost(NodeId id, double elements, std::set<NodeId>& seen) {
    if (!seen.insert(id).second) return 0;
    const double size = static_cast<double>(graph_.node(id).types[0].element_count());
    const double share = std::min(1.0, size / elements);
    if (is_loaded(id)) return share;
    double sum = static_cast<double>(costs_.of(id)) * share;
    for (ir::Value operand : graph_.operands(id)) sum += cost(operand.node, elements, seen);
    return sum;
  }

  const Graph& graph_;
  const FusionPlan& plan_;
  const Group& group_;
  ProgramCosts& costs_;
  std::map<NodeId, LoopNumber> loop_;
  std::set<NodeId> kept_;
};

}  // namespace

std::set<NodeId> shared_values(const Graph& graph, const FusionPlan& plan, ProgramCosts& costs) {
  std::set<NodeId> result;
  for (const Group& group : plan.groups) {
    result.merge(GroupValues(graph, plan, group, costs).shared());
  }
  return result;
}

}  // namespace gradus::passes
