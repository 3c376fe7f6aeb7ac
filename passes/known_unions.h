#pragma once

// What is known of groups between plans of one graph that differ in a few roots: most groups come
// up again, and what some of them are together depends on their own roots alone.

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "passes/fuse.h"

namespace gradus::passes {

/// Several groups as one, or why they should not be.
struct Union {
  std::string refusal;  // empty: there is none
  Group group;          // without one
  std::uint32_t version = 0;
};

/// Groups by version: those of one version have the same content.
class KnownUnions {
 public:
  /// Begins a plan. Roots that are not as in the plan before have new versions, all of them if
  /// other states are updated in place.
  void begin(std::size_t nodes, const FusionPlan& before, const std::map<ir::NodeId, Root>& roots,
             const std::map<ir::NodeId, ir::NodeId>& in_place);

  /// Of the group of one root.
  [[nodiscard]] std::uint32_t version(ir::NodeId root) const { return versions_[root]; }

  /// Versions of two groups, or of three; 0: no group.
  using Versions = std::array<std::uint32_t, 3>;

  /// What the groups of these versions are together, by `find_out()` where that is not yet known.
  template <typename FindOut>
  const Union& of(const Versions& versions, FindOut&& find_out) {
    const auto [known, added] = unions_.try_emplace(versions);
    if (added) {
      known->second = find_out();
      known->second.version = ++newest_;
    }
    return known->second;
  }

 private:
  std::vector<std::uint32_t> versions_;
  std::uint32_t newest_ = 0;
  std::map<Versions, Union> unions_;
};

}  // namespace gradus::passes
