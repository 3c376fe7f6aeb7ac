#pragma once

#include <cstdint>
#include <vector>

namespace gradus::passes {

/// A buffer that is needed from step `first` to step `last`, both included.
struct Lifetime {
  std::int64_t bytes = 0;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

struct MemoryPlan {
  std::vector<std::int64_t> offsets;   // per buffer, multiples of 64 bytes
  std::int64_t peak_bytes = 0;         // of the arena
  std::int64_t lower_bound_bytes = 0;  // greatest sum of buffers alive at one step
};

/// Places buffers in one arena so that those alive at the same time do not overlap: first fit in
/// several orders (by size, by size times lifetime, by first use), the smallest arena wins.
[[nodiscard]] MemoryPlan plan_memory(const std::vector<Lifetime>& buffers);

}  // namespace gradus::passes
