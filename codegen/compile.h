#pragma once

// From a program's graph to something that runs.

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/arena.h"
#include "codegen/code_cache.h"
#include "codegen/schedule.h"
#include "codegen/target.h"
#include "codegen/tune.h"
#include "ir/graph.h"
#include "passes/fuse.h"
#include "passes/plan_memory.h"
#include "runtime/executable.h"

namespace gradus::codegen {

struct CompileOptions {
  InstructionSet set = InstructionSet::native;
  bool fuse = true;
  int threads = 1;             // that compile
  CodeStore* store = nullptr;  // of code from earlier runs; may be null
  DebugOptions debug = {};
  Tuner* tuner = nullptr;    // chooses how contractions run; null: the model does
  bool store_values = true;  // false: light values are computed again wherever they are wanted
  std::set<std::string, std::less<>> without = {};  // names of optional stages
};

/// The optional stage of codegen/chain.h.
inline constexpr std::string_view kChains = "chains";

/// What a program can be compiled without, to find out what it is worth: passes that later stages
/// do not need, "stored_values" (passes/stored_values.h), "folded_copies" (codegen/fold_copies.h)
/// and "chains" (codegen/chain.h).
[[nodiscard]] std::vector<std::string> optional_stages();

struct StageSeconds {
  std::string stage;
  double seconds = 0;
};

/// The body of a scan and what was decided about it. Its kernels are among those of the program.
struct LoopBody {
  ir::NodeId scan = 0;
  ir::Graph graph;
  passes::FusionPlan fusion;
};

/// A program with everything that was decided about it, up to machine code.
struct Plan {
  ir::Graph graph;  // after the passes
  passes::FusionPlan fusion{};
  std::vector<ScheduledKernel> kernels{};  // a kernel may run more than once
  std::vector<runtime::Chain> chains{};    // of kernels; none where a kernel runs more than once
  std::vector<runtime::Loop> loops{};      // of kernels
  std::vector<LoopBody> bodies{};          // of the graph's scans
  std::vector<ArenaBuffer> arena{};        // after `place`
  passes::MemoryPlan memory{};             // after `place`
  std::vector<StageSeconds> seconds{};
  // After `compile`:
  std::size_t cached_modules = 0;  // of machine code
  std::size_t compiled_modules = 0;
  std::vector<std::string> modules{};  // keys of all of them in the store
  std::vector<std::string> symbols{};  // of the kernels' functions in them
};

/// Runs passes, fusion and schedules. Throws InternalError where a stage breaks its law.
[[nodiscard]] Plan plan_program(const ir::Graph& graph, const CompileOptions& options);

/// Plans memory: everything of the executable but the code. The steps are those of plan.kernels in
/// order, without functions; scratch is an estimate. State inputs are found in `layout` by name.
[[nodiscard]] runtime::Executable place(Plan& plan, const runtime::StateLayout& layout);

/// Plans memory, compiles the kernels and links them. Adds its own stages to plan.seconds. Throws
/// InternalError where a kernel breaks a law.
[[nodiscard]] runtime::Executable compile(Plan& plan, const runtime::StateLayout& layout,
                                          const CompileOptions& options);

}  // namespace gradus::codegen
