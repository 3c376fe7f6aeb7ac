#include "passes/unite_groups.h"

#include <algorithm>
#include <numeric>

namespace gradus::passes {
namespace {

using ir::NodeId;

/// Domain axes under construction: a union-find over the axes of two groups.
class AxisUnion {
 public:
  explicit AxisUnion(std::size_t count) : parent_(count) {
    std::iota(parent_.begin(), parent_.end(), 0);
  }
  int find(int axis) const {
    while (parent_[static_cast<std::size_t>(axis)] != axis) {
      axis = parent_[static_cast<std::size_t>(axis)];
    }
    return axis;
  }
  void join(int a, int b) {
    parent_[static_cast<std::size_t>(std::max(find(a), find(b)))] = std::min(find(a), find(b));
  }

 private:
  std::vector<int> parent_;
};

bool has_duplicates(std::vector<int> axes) {
  std::erase(axes, -1);
  std::sort(axes.begin(), axes.end());
  return std::adjacent_find(axes.begin(), axes.end()) != axes.end();
}

class Uniter {
 public:
  explicit Uniter(const std::map<NodeId, Root>& roots) : roots_(roots) {}

  Group unite(const Group& a, const Group& b) const {
    Group merged = a;
    const int offset = static_cast<int>(a.extents.size());
    merged.extents.insert(merged.extents.end(), b.extents.begin(), b.extents.end());
    for (const auto& [id, axes] : b.axes) {
      std::vector<int>& moved = merged.axes[id];
      for (int axis : axes) moved.push_back(axis < 0 ? -1 : axis + offset);
    }
    merged.roots.insert(merged.roots.end(), b.roots.begin(), b.roots.end());
    std::sort(merged.roots.begin(), merged.roots.end());
    AxisUnion axes(merged.extents.size());
    for (NodeId id : merged.roots) {
      for (const Read& read : roots_.at(id).roots) {
        if (merged.axes.contains(read.value)) identify(merged, id, read, axes);
      }
    }
    unify_shared_reads(merged, axes);
    renumber(merged, axes);
    return merged;
  }

 private:
  /// Identifies the axes of reader and read value where they run together.
  void identify(const Group& group, NodeId id, const Read& read, AxisUnion& axes) const {
    const std::vector<int>& slots = roots_.at(read.value).iteration.result_slot;
    for (std::size_t a = 0; a < read.slots.size(); ++a) {
      if (read.slots[a] < 0 || slots[a] < 0) continue;
      const int mine = group.axes.at(id)[static_cast<std::size_t>(read.slots[a])];
      const int theirs = group.axes.at(read.value)[static_cast<std::size_t>(slots[a])];
      if (mine >= 0 && theirs >= 0) join_if_distinct(group, mine, theirs, axes);
    }
  }

  /// Axes of different roots run together where they read the same axis of what other kernels
  /// have written.
  void unify_shared_reads(const Group& group, AxisUnion& axes) const {
    std::map<std::pair<NodeId, std::size_t>, int> known;
    for (NodeId id : group.roots) {
      const Root& root = roots_.at(id);
      for (const std::vector<Read>* reads : {&root.leaves, &root.roots}) {
        for (const Read& read : *reads) {
          if (group.axes.contains(read.value)) continue;
          for (std::size_t a = 0; a < read.slots.size(); ++a) {
            if (read.slots[a] < 0) continue;
            const int axis = group.axes.at(id)[static_cast<std::size_t>(read.slots[a])];
            if (axis < 0) continue;
            const auto [at, added] = known.emplace(std::pair{read.value, a}, axis);
            if (!added) join_if_distinct(group, at->second, axis, axes);
          }
        }
      }
    }
  }

  void join_if_distinct(const Group& group, int a, int b, AxisUnion& axes) const {
    if (axes.find(a) == axes.find(b)) return;
    if (group.extents[static_cast<std::size_t>(a)] != group.extents[static_cast<std::size_t>(b)]) {
      return;
    }
    AxisUnion trial = axes;
    trial.join(a, b);
    for (const auto& [id, own] : group.axes) {
      std::vector<int> mapped;
      for (int axis : own) mapped.push_back(axis < 0 ? -1 : trial.find(axis));
      if (has_duplicates(mapped)) return;
    }
    axes = trial;
  }

  static void renumber(Group& group, const AxisUnion& axes) {
    std::map<int, int> number;
    std::vector<std::int64_t> extents;
    for (auto& [id, own] : group.axes) {
      for (int& axis : own) {
        if (axis < 0) continue;
        const int representative = axes.find(axis);
        const auto [at, added] = number.emplace(representative, static_cast<int>(extents.size()));
        if (added) extents.push_back(group.extents[static_cast<std::size_t>(representative)]);
        axis = at->second;
      }
    }
    group.extents = std::move(extents);
  }

  const std::map<NodeId, Root>& roots_;
};

}  // namespace

Group unite(const Group& a, const Group& b, const std::map<NodeId, Root>& roots) {
  return Uniter(roots).unite(a, b);
}

}  // namespace gradus::passes
