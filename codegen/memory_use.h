#pragma once

// How many bytes a program takes, known before any of them is allocated, and plans that take fewer.

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/compile.h"

namespace gradus::codegen {

/// Bytes by kind.
struct MemoryUse {
  std::int64_t weights = 0;      // the state without slots
  std::int64_t slots = 0;        // what the optimizer keeps per parameter
  std::int64_t activations = 0;  // the arena
  std::int64_t scratch = 0;      // of all workers
  std::int64_t data = 0;         // batch buffers and constants
  std::int64_t alive = 0;        // the most that is alive in the arena at one time
  [[nodiscard]] std::int64_t total() const {
    return weights + slots + activations + scratch + data;
  }
};

/// What running `executable`, made of `plan`, takes on so many workers.
[[nodiscard]] MemoryUse memory_use(const Plan& plan, const runtime::Executable& executable,
                                   const runtime::StateLayout& layout, std::int64_t workers);

struct MemoryLimit {
  std::int64_t bytes = 0;  // 0: none
  std::int64_t workers = 1;
};

struct FittedPlan {
  Plan plan;
  MemoryUse use;  // scratch estimated: only machine code tells
  bool fits = true;
};

/// plan_program within `limit`: where the first plan takes more, light values are no longer stored,
/// then kernels run again (passes/rematerialise.h). The first plan that fits, else the smallest.
[[nodiscard]] FittedPlan plan_within(const ir::Graph& graph, const runtime::StateLayout& layout,
                                     const CompileOptions& options, const MemoryLimit& limit);

struct LayerMemory {
  ir::Origin origin;
  std::int64_t bytes = 0;
};

/// What the layers hold in the state, and in the arena when most is alive there; most first.
[[nodiscard]] std::vector<LayerMemory> memory_by_layer(const Plan& plan);

}  // namespace gradus::codegen
