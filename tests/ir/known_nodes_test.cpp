#include "ir/known_nodes.h"

#include <gtest/gtest.h>

#include <map>

namespace gradus::ir {
namespace {

TEST(KnownNodes, FindsWhatWasInserted) {
  // Few different hashes, so that nodes share them, and more nodes than places at first.
  constexpr NodeId kNodes = 1000;
  constexpr std::uint64_t kHashes = 300;
  const auto hash_of = [](NodeId id) { return (id % kHashes) << 7; };
  KnownNodes known;
  EXPECT_FALSE(known.find(0, [](NodeId) { return true; }));
  for (NodeId id = 0; id < kNodes; ++id) {
    const auto same = [&](NodeId other) { return other == id; };
    EXPECT_FALSE(known.find(hash_of(id), same)) << id;
    known.insert(hash_of(id), id);
    EXPECT_EQ(known.find(hash_of(id), same), id);
  }
  known.reserve(8 * kNodes);
  for (NodeId id = 0; id < kNodes; ++id) {
    EXPECT_EQ(known.find(hash_of(id), [&](NodeId other) { return other == id; }), id);
    std::map<NodeId, int> asked;
    EXPECT_FALSE(known.find(hash_of(id), [&](NodeId other) { return ++asked[other] > 1; }));
    for (const auto& [other, times] : asked) EXPECT_EQ(other % kHashes, id % kHashes);
    EXPECT_EQ(asked.size(), id % kHashes < kNodes % kHashes ? 4u : 3u);
  }
}

}  // namespace
}  // namespace gradus::ir
