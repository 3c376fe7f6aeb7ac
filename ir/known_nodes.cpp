#include "ir/known_nodes.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace gradus::ir {

void KnownNodes::reserve(std::size_t nodes) {
  const std::size_t places = std::bit_ceil(2 * std::max<std::size_t>(nodes, 8));
  if (places <= entries_.size()) return;
  const std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(places));
  for (const Entry& entry : old) {
    if (entry.used) put(entry);
  }
}

void KnownNodes::insert(std::uint64_t hash, NodeId id) {
  reserve(++count_);
  put({hash, id, true});
}

void KnownNodes::put(const Entry& entry) {
  std::size_t at = place(entry.hash);
  while (entries_[at].used) at = next(at);
  entries_[at] = entry;
}

}  // namespace gradus::ir
