#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace gradus::ir {

/// Nodes by their structural hash: open addressing, in a table of a power of two of places.
class KnownNodes {
 public:
  /// Makes room for so many nodes.
  void reserve(std::size_t nodes);
  void insert(std::uint64_t hash, NodeId id);
  /// A node of that hash for which `equal(id)` holds.
  template <typename Equal>
  [[nodiscard]] std::optional<NodeId> find(std::uint64_t hash, Equal&& equal) const {
    if (entries_.empty()) return std::nullopt;
    for (std::size_t at = place(hash); entries_[at].used; at = next(at)) {
      if (entries_[at].hash == hash && equal(entries_[at].id)) return entries_[at].id;
    }
    return std::nullopt;
  }

 private:
  struct Entry {
    std::uint64_t hash = 0;
    NodeId id = 0;
    bool used = false;
  };
  void put(const Entry& entry);
  [[nodiscard]] std::size_t place(std::uint64_t hash) const { return hash & (entries_.size() - 1); }
  [[nodiscard]] std::size_t next(std::size_t at) const { return (at + 1) & (entries_.size() - 1); }

  std::vector<Entry> entries_;  // at most half of them used
  std::size_t count_ = 0;
};

}  // namespace gradus::ir
