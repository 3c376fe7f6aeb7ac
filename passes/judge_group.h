#pragma once

// Whether two fusion groups are better off as one: tasks, scratch and what is read again.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "passes/fuse.h"

namespace gradus::passes {

/// A group that loses tasks by growing can still be cut in at least this many: fewer keep workers
/// waiting.
inline constexpr std::int64_t kLeastTasks = 8;

class GroupJudge {
 public:
  /// Everything given outlives this.
  GroupJudge(const ir::Graph& graph, const std::map<ir::NodeId, Root>& roots,
             const std::map<ir::NodeId, ir::NodeId>& in_place);

  /// Why `merged` would be worse than its parts, or wrong; empty when it is fine.
  [[nodiscard]] std::string refusal(const Group& merged, const Group& a, const Group& b) const;

  /// Whether one group may have the contractions of both, as far as is seen without uniting them.
  [[nodiscard]] bool may_hold(const Group& a, const Group& b) const;

 private:
  [[nodiscard]] bool makes_more(ir::NodeId contraction) const;
  [[nodiscard]] bool contraction_reads_update(const Group& group) const;
  [[nodiscard]] std::int64_t most_tasks(const Group& group) const;
  [[nodiscard]] std::int64_t work(const Group& group) const;
  [[nodiscard]] std::vector<ir::NodeId> contractions_of(const Group& group) const;
  [[nodiscard]] std::set<ir::NodeId> needed_by(const Group& group, ir::NodeId id) const;
  [[nodiscard]] bool makes_twice(const Group& group) const;
  [[nodiscard]] bool cuts_rows_and_columns(const Group& group) const;
  [[nodiscard]] bool keeps_large_sums(const Group& group) const;
  [[nodiscard]] std::int64_t contraction_tasks(const Group& group) const;
  [[nodiscard]] std::int64_t contraction_tasks(const Group& group, ir::NodeId id) const;
  [[nodiscard]] std::int64_t scratch_bytes(const Group& group, std::int64_t positions) const;

  const ir::Graph& graph_;
  const std::map<ir::NodeId, Root>& roots_;
  const std::map<ir::NodeId, ir::NodeId>& in_place_;
  /// Contractions whose results nobody needs but a transpose: they are stored as it has them.
  std::set<ir::NodeId> transposed_;
};

}  // namespace gradus::passes
