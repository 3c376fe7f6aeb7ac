#include "passes/fuse.h"

#include <algorithm>
#include <optional>
#include <set>

#include "ir/op.h"
#include "passes/group_order.h"
#include "passes/in_place.h"
#include "passes/inner_batch.h"
#include "passes/judge_group.h"
#include "passes/known_unions.h"
#include "passes/repeat_contractions.h"
#include "passes/root_order.h"
#include "passes/shared_values.h"
#include "passes/stored_values.h"
#include "passes/sum_tiles.h"
#include "passes/task_axes.h"
#include "passes/unite_groups.h"

namespace gradus::passes {
namespace {

using ir::Graph;
using ir::NodeId;

// The same on every machine: tasks are part of the plan.
struct Heuristics {
  /// The left operand of a contraction is made by its kernel if the result has as many rows.
  std::int64_t least_prologue_rows = 256;
  /// What groups read together, if it is as large as a small L2 cache and what they write smaller
  /// by this factor.
  std::int64_t least_shared_bytes = 256 * 1024;
  std::int64_t least_reduction = 16;
  /// Instructions of a chain per element that are not worth computing in two groups.
  std::int64_t dear_chain = 32;
};
constexpr Heuristics kHeuristics;

constexpr const char* kOverlap = "windows would overlap in what they need";

template <typename Computation>
bool computes(const Graph& graph, NodeId id) {
  return std::holds_alternative<Computation>(graph.node(id).op->compute);
}

class Fuser {
 public:
  /// `before` is the plan from which `unions` knows groups.
  Fuser(const Graph& graph, const FusionOptions& options, std::map<NodeId, Root> roots,
        const FusionPlan& before, KnownUnions& unions, ProgramCosts& costs)
      : graph_(graph),
        options_(options),
        unions_(unions),
        costs_(costs),
        roots_(std::move(roots)),
        in_place_(updates_in_place(graph, roots_)),
        root_(graph.size()),
        updated_by_(graph.size()),
        order_(graph, roots_, in_place_),
        task_axes_(graph, root_, updated_by_),
        judge_(graph, roots_, in_place_),
        group_order_(order_, graph.size(), keys(roots_)),
        groups_(graph.size()),
        version_(graph.size()) {
    for (const auto& [id, root] : roots_) root_[id] = &root;
    for (const auto& [update, state] : in_place_) updated_by_[state] = update;
    unions_.begin(graph.size(), before, roots_, in_place_);
  }

  FusionPlan run() {
    for (const auto& [id, root] : roots_) {
      groups_[id] = singleton(id, root);
      version_[id] = unions_.version(id);
    }
    for (const auto& [id, root] : roots_) {
      if (is_contraction(graph_, id)) merge_operands(id);
    }
    for (const auto& [id, root] : roots_) {
      std::vector<Read> reads = root.roots;
      std::sort(reads.begin(), reads.end(),
                [](const Read& a, const Read& b) { return a.value > b.value; });
      for (const Read& read : reads) {
        if (owner(read.value) != owner(id)) record(read.value, id, try_merge(id, read.value));
      }
    }
    for (const auto& [bytes, value] : shared_reads()) merge_readers(value);
    merge_twins();
    return finish();
  }

 private:
  Group singleton(NodeId id, const Root& root) const {
    Group group;
    group.roots = {id};
    std::vector<int>& axes = group.axes[id];
    for (std::int64_t extent : root.iteration.extents) {
      axes.push_back(extent == 1 ? -1 : static_cast<int>(group.extents.size()));
      if (extent != 1) group.extents.push_back(extent);
    }
    group.parallel = task_axes_.of(group);
    return group;
  }

  static std::vector<NodeId> keys(const std::map<NodeId, Root>& roots) {
    std::vector<NodeId> ids;
    for (const auto& [id, root] : roots) ids.push_back(id);
    return ids;
  }
  [[nodiscard]] NodeId owner(NodeId root) const { return group_order_.owner(root); }

  // --- Merging ----------------------------------------------------------------------------------

  /// Merges the groups of two roots; returns why not, or an empty string.
  std::string try_merge(NodeId reader, NodeId read) {
    if (!options_.enabled) return "fusion is off";
    const NodeId a = owner(reader);
    const NodeId b = owner(read);
    // A refusal holds until one of the two grows: merging others only adds paths between them.
    const auto [known, added] = refused_.try_emplace({version_[a], version_[b]});
    if (!added) return known->second;
    known->second = refusal(a, b);
    if (!known->second.empty()) return known->second;
    const Union& both = together(a, b);
    const NodeId keep = group_order_.merge(a, b);
    groups_[a] = groups_[b] = {};
    groups_[keep] = both.group;
    version_[keep] = both.version;
    return "";
  }

  /// Why there is no group of both; empty where there is one.
  std::string refusal(NodeId a, NodeId b) {
    if (std::string barrier = barrier_between(groups_[a], groups_[b]); !barrier.empty()) {
      return barrier;
    }
    if (const Union& both = together(a, b); !both.refusal.empty()) return both.refusal;
    if (group_order_.far_apart(a, b)) return "another group lies between";
    return "";
  }

  /// Both groups as one, whatever other groups are.
  const Union& together(NodeId a, NodeId b) {
    return unions_.of({version_[a], version_[b]}, [&] {
      Union both{"", unite(groups_[a], groups_[b], roots_)};
      both.group.parallel = task_axes_.of(both.group);
      both.refusal = judge_.refusal(both.group, groups_[a], groups_[b]);
      if (!both.refusal.empty()) both.group = {};
      return both;
    });
  }

  /// A contraction in many parts makes both operands itself where its task keeps all of its sums.
  void merge_operands(NodeId contraction) {
    if (!options_.enabled || root_[contraction]->iteration.block_slot < 0) return;
    if (block_cut(graph_, contraction).count < kLeastTasks) return;
    const NodeId lhs = graph_.operands(contraction)[0].node;
    const NodeId rhs = graph_.operands(contraction)[1].node;
    for (NodeId operand : {lhs, rhs}) {
      if (!is_tile_op(graph_, operand) || needed_elsewhere(operand, contraction)) return;
    }
    const ContractionCounts counts = contraction_counts(graph_, contraction);
    const int column = static_cast<int>(counts.batch + counts.rows);
    if (lhs == rhs || root_[contraction]->iteration.operand_slots[1].back() != column) return;
    for (NodeId from : {lhs, rhs, contraction}) {
      for (NodeId to : {lhs, rhs, contraction}) {
        if (from < to && group_order_.far_apart(from, to)) return;
      }
    }
    const Union& all = with_operands(contraction, lhs, rhs);
    if (!all.refusal.empty()) return;
    const NodeId keep = group_order_.merge(group_order_.merge(lhs, contraction), rhs);
    for (NodeId id : all.group.roots) groups_[id] = {};
    groups_[keep] = all.group;
    version_[keep] = all.version;
    for (NodeId operand : {lhs, rhs}) record(operand, contraction, "");
  }

  /// A contraction and what makes its operands as one, whatever other groups are.
  const Union& with_operands(NodeId contraction, NodeId lhs, NodeId rhs) {
    return unions_.of({version_[contraction], version_[lhs], version_[rhs]}, [&] {
      Union all{"", unite(unite(groups_[contraction], groups_[lhs], roots_), groups_[rhs], roots_)};
      all.group.parallel = task_axes_.of(all.group);
      const bool in_parts = std::ranges::any_of(
          all.group.parallel, [](const ParallelAxis& axis) { return axis.cut.has_value(); });
      if (!in_parts) {
        all = {"tasks would not be parts of the sums", {}};
      } else if (!sum_tiles(graph_, all.group, contraction)) {
        all = {"what a task keeps would not fit the cache", {}};
      }
      return all;
    });
  }

  /// Whether a result of the graph or another root than `reader` needs `value`.
  bool needed_elsewhere(NodeId value, NodeId reader) const {
    for (const ir::Result& result : graph_.results()) {
      if (memory_of(graph_, result.value.node) == value) return true;
    }
    return std::ranges::any_of(roots_, [&](const auto& entry) {
      return entry.first != reader &&
             std::ranges::any_of(entry.second.roots,
                                 [&](const Read& read) { return read.value == value; });
    });
  }

  /// What several groups read, the largest first.
  std::vector<std::pair<std::int64_t, NodeId>> shared_reads() const {
    std::map<NodeId, std::set<NodeId>> readers;
    for (const auto& [id, root] : roots_) {
      for (const std::vector<Read>* reads : {&root.roots, &root.leaves}) {
        for (const Read& read : *reads) {
          if (!groups_[owner(id)].axes.contains(read.value)) {
            readers[read.value].insert(owner(id));
          }
        }
      }
    }
    std::vector<std::pair<std::int64_t, NodeId>> shared;
    for (const auto& [value, groups] : readers) {
      const std::int64_t bytes = graph_.node(value).types[0].byte_size();
      if (groups.size() > 1 && bytes >= kHeuristics.least_shared_bytes) {
        shared.emplace_back(-bytes, value);
      }
    }
    std::ranges::sort(shared);
    return shared;
  }

  /// Groups that reduce what they read, such as the sums of a normalisation, read `value` together,
  /// and with another group that reads it.
  void merge_readers(NodeId value) {
    std::vector<NodeId> reducing, others;
    for (const auto& [id, root] : roots_) {
      if (owner(id) != id || !is_plain_reader(groups_[id], value)) continue;
      (reduces(groups_[id], value) ? reducing : others).push_back(id);
    }
    for (std::size_t i = 1; i < reducing.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (owner(reducing[j]) == reducing[j] && try_merge(reducing[i], reducing[j]).empty()) {
          break;
        }
      }
    }
    for (NodeId id : reducing) {
      if (owner(id) == id) merge_with_one(id, others);
    }
  }

  /// Merges a group with the one that reads most of what it reads, of those that it can join.
  void merge_with_one(NodeId id, const std::vector<NodeId>& others) {
    std::vector<std::pair<std::int64_t, NodeId>> candidates;
    for (NodeId other : others) {
      candidates.emplace_back(-shared_bytes(groups_[id], groups_[owner(other)]), other);
    }
    std::ranges::sort(candidates);
    for (const auto& [bytes, other] : candidates) {
      if (try_merge(id, other).empty()) return;
    }
  }

  /// Bytes of what both groups read and neither makes.
  std::int64_t shared_bytes(const Group& a, const Group& b) const {
    const auto reads = [&](const Group& group) {
      std::set<NodeId> values;
      for (NodeId id : group.roots) {
        for (const std::vector<Read>* kind : {&root_[id]->roots, &root_[id]->leaves}) {
          for (const Read& read : *kind) values.insert(read.value);
        }
      }
      return values;
    };
    const std::set<NodeId> theirs = reads(b);
    std::int64_t bytes = 0;
    for (NodeId value : reads(a)) {
      if (theirs.contains(value)) bytes += graph_.node(value).types[0].byte_size();
    }
    return bytes;
  }

  /// Groups without contractions that compute the same dear chain compute it together.
  void merge_twins() {
    const auto in_memory = [&](NodeId id) {
      return root_[id] != nullptr || access_of(graph_, id) != Access::light;
    };
    std::vector<std::set<NodeId>> wanted(graph_.size());  // by which roots
    std::vector<std::vector<NodeId>> twins;
    for (auto id = static_cast<NodeId>(graph_.size()); id-- > 0;) {
      if (root_[id] != nullptr) {
        if (!is_contraction(graph_, id)) wanted[id] = {id};
      } else if (wanted[id].size() > 1 &&
                 chain_cost(graph_, costs_, {id}, in_memory) >= kHeuristics.dear_chain) {
        twins.emplace_back(wanted[id].begin(), wanted[id].end());
      }
      for (ir::Value operand : graph_.operands(id)) {
        wanted[operand.node].insert(wanted[id].begin(), wanted[id].end());
      }
    }
    for (const std::vector<NodeId>& roots : twins) {
      for (NodeId id : roots) {
        if (owner(id) != owner(roots[0]) && is_plain(id) && is_plain(roots[0])) {
          static_cast<void>(try_merge(id, roots[0]));
        }
      }
    }
  }

  bool has_contraction(const Group& group) const {
    return std::ranges::any_of(group.roots, [&](NodeId id) { return is_contraction(graph_, id); });
  }
  /// Whether the group of root `id` has no contraction.
  bool is_plain(NodeId id) const { return !has_contraction(groups_[owner(id)]); }

  /// Whether a group without contraction reads `value` and does not make it.
  bool is_plain_reader(const Group& group, NodeId value) const {
    const auto reads_value = [&](const Read& read) { return read.value == value; };
    bool reads = false;
    for (NodeId id : group.roots) {
      if (id == value || is_contraction(graph_, id)) return false;
      const Root& root = *root_[id];
      reads = reads || std::ranges::any_of(root.roots, reads_value) ||
              std::ranges::any_of(root.leaves, reads_value);
    }
    return reads;
  }

  /// Whether a group leaves little compared with `value`.
  bool reduces(const Group& group, NodeId value) const {
    std::int64_t bytes = 0;
    for (NodeId id : group.roots) bytes += graph_.node(id).types[0].byte_size();
    return bytes * kHeuristics.least_reduction <= graph_.node(value).types[0].byte_size();
  }

  /// A read between the groups that must go through memory.
  std::string barrier_between(const Group& a, const Group& b) const {
    for (const auto& [from, to] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
      for (NodeId id : from->roots) {
        if (runs_in_order(graph_, id)) return "runs in an order of its own";
        if (computes<ir::ScanComputation>(graph_, id)) return "a loop";
        for (const Read& read : root_[id]->roots) {
          if (!to->axes.contains(read.value)) continue;
          if (read.through_view) return "read through a view or by index";
          if (computes<ir::CombineComputation>(graph_, id)) {
            return "blocks are added when all tasks are complete";
          }
          if (is_tile_op(graph_, id) && reads_windows(id)) return kOverlap;
          if (is_contraction(graph_, id)) {
            if (const std::string why = keeps_apart(id, read.value, *from, *to); !why.empty()) {
              return why;
            }
          }
        }
        for (const Read& read : root_[id]->leaves) {
          const std::optional<NodeId> update = updated_by_[read.value];
          if (read.through_view && update && to->axes.contains(*update)) {
            return "updates what is read through a view or by index";
          }
        }
      }
    }
    if (!judge_.may_hold(a, b)) return "two contractions";
    return "";
  }

  /// Whether the first operand of a contraction or tile op is not read element by element.
  bool reads_windows(NodeId id) const {
    return !operand_read(graph_, graph_.operands(id)[0].node).permuted();
  }

  /// Why an operand of a contraction must be made by another kernel; empty when its own kernel may
  /// make it, rows of the left operand before the rows of the result.
  std::string keeps_apart(NodeId contraction, NodeId value, const Group& own,
                          const Group& producer) const {
    if (reads_windows(contraction)) return kOverlap;
    const NodeId right = graph_.operands(contraction)[1].node;
    if (memory_of(graph_, operand_read(graph_, right).node) == value) {
      return "right operand of a contraction";
    }
    for (const ir::Result& result : graph_.results()) {
      if (memory_of(graph_, result.value.node) == value) return "an operand that is a result too";
    }
    // A task that has the whole matrix has it for all who need it, as they join the group.
    if (has_contraction(producer) && fits_task(graph_, value)) return "";
    for (const auto& [id, root] : roots_) {
      if (own.axes.contains(id) || producer.axes.contains(id)) continue;
      if (std::ranges::any_of(root.roots, [&](const Read& read) { return read.value == value; })) {
        return "an operand that others need too";
      }
    }
    // Columns are no longer cut into tasks: the rows must be tasks enough.
    const Shape& shape = graph_.node(contraction).types[0].shape;
    const std::int64_t rows = element_count(shape) / std::max<std::int64_t>(shape.back(), 1);
    if (rows < kHeuristics.least_prologue_rows) return "too few rows to make an operand by rows";
    return "";
  }

  // --- The plan ---------------------------------------------------------------------------------

  void record(NodeId producer, NodeId consumer, std::string reason) {
    LedgerEntry entry{producer, consumer, reason.empty(), std::move(reason),
                      graph_.node(producer).types[0].byte_size()};
    ledger_.push_back(std::move(entry));
  }

  FusionPlan finish() {
    std::set<NodeId> outputs;
    for (const ir::Result& result : graph_.results()) {
      outputs.insert(memory_of(graph_, result.value.node));
    }
    for (const auto& [id, root] : roots_) {
      for (const Read& read : root.roots) {
        if (owner(read.value) != owner(id) || read.through_view) outputs.insert(read.value);
      }
    }
    FusionPlan plan;
    for (NodeId key : ordered_groups()) {
      Group& group = groups_[key];
      for (NodeId id : group.roots) {
        if (outputs.contains(id)) group.outputs.push_back(id);
      }
      plan.groups.push_back(std::move(group));
    }
    plan.roots = std::move(roots_);
    plan.in_place = in_place_;
    plan.ledger = std::move(ledger_);
    for (LedgerEntry& entry : plan.ledger) {
      entry.fused = owner(entry.producer) == owner(entry.consumer);
    }
    return plan;
  }

  /// Topological order; among the groups that are ready, the one of the smallest root first.
  std::vector<NodeId> ordered_groups() const {
    std::vector<NodeId> waiting;  // ascending
    for (const auto& [id, root] : roots_) {
      if (owner(id) == id) waiting.push_back(id);
    }
    std::vector<NodeId> order;
    std::vector<bool> done(graph_.size());  // groups
    const auto is_ready = [&](NodeId key) {
      return std::ranges::all_of(groups_[key].roots, [&](NodeId id) {
        return std::ranges::all_of(order_.before(id), [&](NodeId other) {
          return owner(other) == key || done[owner(other)];
        });
      });
    };
    while (!waiting.empty()) {
      const std::size_t before = waiting.size();
      std::erase_if(waiting, [&](NodeId key) {
        if (!is_ready(key)) return false;
        order.push_back(key);
        done[key] = true;
        return true;
      });
      GRADUS_CHECK(waiting.size() < before, "the fusion groups have a cycle");
    }
    return order;
  }

  const Graph& graph_;
  const FusionOptions& options_;
  KnownUnions& unions_;
  ProgramCosts& costs_;
  std::map<NodeId, Root> roots_;
  std::map<NodeId, NodeId> in_place_;  // update value -> state input
  // By node:
  std::vector<const Root*> root_;                  // null: no root
  std::vector<std::optional<NodeId>> updated_by_;  // state input -> update value
  RootOrder order_;
  TaskAxes task_axes_;
  GroupJudge judge_;
  GroupOrder group_order_;
  std::vector<Group> groups_;           // at their smallest root; others are empty
  std::vector<std::uint32_t> version_;  // of a group: another one after each merge
  /// By the versions of two groups: why they are not merged.
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::string> refused_;
  std::vector<LedgerEntry> ledger_;
};

}  // namespace

FusionPlan fuse(const Graph& graph, const FusionOptions& options) {
  ProgramCosts costs(graph);
  RootFinder finder(graph, !options.enabled, costs);
  KnownUnions unions;
  FusionPlan plan;
  const auto with = [&](const std::set<NodeId>& also) {
    return Fuser(graph, options, finder.find(also), plan, unions, costs).run();
  };
  plan = with({});
  if (!options.enabled) return plan;
  const std::set<NodeId> stored =
      options.store ? stored_values(graph, plan, costs) : std::set<NodeId>();
  if (!stored.empty()) plan = with(stored);
  std::set<NodeId> shared = shared_values(graph, plan, costs);
  while (!shared.empty()) {
    std::set<NodeId> also = stored;
    also.insert(shared.begin(), shared.end());
    plan = with(also);
    // What would have to be in memory is computed again instead.
    std::size_t rejected = 0;
    for (const Group& group : plan.groups) {
      for (NodeId id : group.outputs) rejected += shared.erase(id);
    }
    if (rejected == 0) break;
    if (shared.empty()) plan = with(stored);
  }
  return plan;
}

}  // namespace gradus::passes
