#include "runtime/executor.h"

#include <gtest/gtest.h>

#include "base/check.h"
#include "base/diagnostic.h"

namespace gradus::runtime {
namespace {

constexpr std::int64_t kTasks = 10;

/// out[task] = in[task] * 2, through scratch.
void twice(std::byte* const* buffers, std::byte* scratch, std::int64_t first, std::int64_t last,
           FaultWord*) {
  const auto* in = reinterpret_cast<const float*>(buffers[0]);
  auto* out = reinterpret_cast<float*>(buffers[1]);
  auto* value = reinterpret_cast<float*>(scratch);
  for (std::int64_t task = first; task < last; ++task) {
    *value = in[task];
    out[task] = *value * 2.0f;
  }
}

/// state[task] += in[task] * constant[0]
void accumulate(std::byte* const* buffers, std::byte*, std::int64_t first, std::int64_t last,
                FaultWord*) {
  const auto* in = reinterpret_cast<const float*>(buffers[0]);
  const auto* constant = reinterpret_cast<const float*>(buffers[1]);
  auto* state = reinterpret_cast<float*>(buffers[2]);
  for (std::int64_t task = first; task < last; ++task) state[task] += in[task] * constant[0];
}

/// Faults at tasks 3, 6, 9 with the task as position.
void fault_at_thirds(std::byte* const*, std::byte*, std::int64_t first, std::int64_t last,
                     FaultWord* fault) {
  for (std::int64_t task = first; task < last; ++task) {
    if (task % 3 == 0 && task > 0 && *fault == 0) {
      *fault = (FaultWord{1} << 56) | static_cast<FaultWord>(task);
    }
  }
}

Executable example() {
  Executable executable;
  executable.name = "example";
  executable.inputs = {{"x", {ElementType::f32, {kTasks}}}};
  executable.arena_bytes = 64;
  executable.scratch_bytes = 64;
  const float constant = 3.0f;
  executable.constants.resize(64);
  std::memcpy(executable.constants.data(), &constant, sizeof(constant));
  const BufferReference doubled{Space::arena, 0, kTasks * 4, true};
  BufferReference read = doubled;
  read.written = false;
  executable.steps = {
      {.name = "twice",
       .provenance = "",
       .function = twice,
       .buffers = {{Space::input, 0, kTasks * 4, false}, doubled},
       .tasks = kTasks,
       .scratch_bytes = 4},
      {.name = "accumulate",
       .provenance = "",
       .function = accumulate,
       .buffers = {read, {Space::constants, 0, 4, false}, {Space::state, 64, kTasks * 4, true}},
       .tasks = kTasks}};
  executable.outputs = {{"doubled", {ElementType::f32, {2, 5}}, read},
                        {"total", {ElementType::f32, {kTasks}}, {Space::state, 64, kTasks * 4}},
                        {"x", {ElementType::f32, {kTasks}}, {Space::input, 0, kTasks * 4}}};
  return executable;
}

struct Case {
  Executable executable = example();
  AlignedBytes state = AlignedBytes(128);
  Tensor x{TensorType{ElementType::f32, {kTasks}}};
  Case() {
    for (std::size_t i = 0; i < kTasks; ++i) x.as<float>()[i] = static_cast<float>(i);
  }
  RunResult run(Executor& executor, std::span<double> seconds = {}) {
    const std::span<const std::byte> input(x.bytes);
    return executor.run(executable, state, std::span(&input, 1), seconds);
  }
};

TEST(Executor, RunsStepsInOrderOnAnyNumberOfWorkers) {
  for (const std::int64_t workers : {1, 2, 3, 12}) {
    Case c;
    Executor executor(workers);
    EXPECT_EQ(c.run(executor).fault, 0u);
    EXPECT_EQ(c.run(executor).fault, 0u);
    const Tensor doubled = executor.output(c.executable, 0);
    const Tensor total = executor.output(c.executable, 1);
    EXPECT_EQ(doubled.type.shape, (Shape{2, 5}));
    EXPECT_EQ(executor.output(c.executable, 2), c.x);
    for (std::size_t i = 0; i < kTasks; ++i) {
      EXPECT_EQ(doubled.as<float>()[i], static_cast<float>(2 * i));
      EXPECT_EQ(total.as<float>()[i], static_cast<float>(12 * i));
    }
  }
}

TEST(Executor, ReportsTheFaultOfTheLowestTaskAndStops) {
  for (const std::int64_t workers : {1, 2, 4, 5}) {
    Case c;
    c.executable.steps.insert(c.executable.steps.begin() + 1, {.name = "fault",
                                                               .provenance = "",
                                                               .function = fault_at_thirds,
                                                               .buffers = {},
                                                               .tasks = kTasks});
    Executor executor(workers);
    const RunResult result = c.run(executor);
    EXPECT_EQ(result.fault, (FaultWord{1} << 56) | 3);
    EXPECT_EQ(result.step, 1u);
    EXPECT_EQ(c.state, AlignedBytes(128));  // the step after the fault has not run
    c.executable.steps.erase(c.executable.steps.begin() + 1);
    EXPECT_EQ(c.run(executor).fault, 0u);  // a fault does not outlive its run
  }
}

TEST(Executor, RunsChainsUnitByUnit) {
  for (const std::int64_t workers : {1, 2, 3, 12}) {
    Case c;
    c.executable.chains = {{0, 2, 5}};
    Executor executor(workers);
    EXPECT_EQ(c.run(executor).fault, 0u);
    const Tensor total = executor.output(c.executable, 1);
    for (std::size_t i = 0; i < kTasks; ++i) {
      EXPECT_EQ(total.as<float>()[i], static_cast<float>(6 * i));
    }
  }
}

/// Writes down which step ran which tasks; buffer 0 is the number of entries and the entries.
template <int step>
void note(std::byte* const* buffers, std::byte*, std::int64_t first, std::int64_t last,
          FaultWord*) {
  auto* log = reinterpret_cast<std::int32_t*>(buffers[0]);
  for (std::int64_t task = first; task < last; ++task) {
    log[++log[0]] = step * 100 + static_cast<std::int32_t>(task);
  }
}

TEST(Executor, AWorkerRunsAllStepsOfAChainForAUnitBeforeTheNextUnit) {
  Executable executable;
  executable.arena_bytes = 256;
  const std::vector<BufferReference> log{{Space::arena, 0, 256, true}};
  executable.steps = {
      {.name = "a", .provenance = "", .function = note<1>, .buffers = log, .tasks = 4},
      {.name = "b", .provenance = "", .function = note<2>, .buffers = log, .tasks = 2},
      {.name = "c", .provenance = "", .function = note<3>, .buffers = log, .tasks = 2}};
  executable.chains = {{0, 2, 2}};
  executable.outputs = {{"log", {ElementType::i32, {11}}, log[0]}};
  Executor executor(1);
  EXPECT_EQ(executor.run(executable, {}, {}).fault, 0u);
  const Tensor order = executor.output(executable, 0);
  const std::vector<std::int32_t> expected{8, 100, 101, 200, 102, 103, 201, 300, 301};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(order.as<std::int32_t>()[i], expected[i]) << i;
  }
}

/// Counts up in the first buffer and writes the number down in the second.
void count_up(std::byte* const* buffers, std::byte*, std::int64_t, std::int64_t, FaultWord*) {
  auto* count = reinterpret_cast<std::int32_t*>(buffers[0]);
  *reinterpret_cast<std::int32_t*>(buffers[1]) = ++*count;
}

TEST(Executor, StepsOfALoopRunOneRoundAfterAnother) {
  Executable executable;
  executable.arena_bytes = 320;
  const std::vector<BufferReference> log{{Space::arena, 0, 128, true}};
  const std::vector<BufferReference> downwards{{Space::arena, 192, 4, true},
                                               {.space = Space::arena,
                                                .offset = 256,
                                                .bytes = 4,
                                                .written = true,
                                                .begin = 8,
                                                .stride = -4}};
  executable.steps = {
      {.name = "a", .provenance = "", .function = note<1>, .buffers = log, .tasks = 1},
      {.name = "b", .provenance = "", .function = note<2>, .buffers = log, .tasks = 2},
      {.name = "c", .provenance = "", .function = note<3>, .buffers = log, .tasks = 2},
      {.name = "d", .provenance = "", .function = count_up, .buffers = downwards, .tasks = 1},
      {.name = "e", .provenance = "", .function = note<4>, .buffers = log, .tasks = 1}};
  executable.chains = {{1, 2, 2}};
  executable.loops = {{1, 3, 3}, {4, 1, 2}};
  executable.outputs = {{"log", {ElementType::i32, {32}}, log[0]},
                        {"stack", {ElementType::i32, {3}}, {Space::arena, 256, 64, true}}};
  Executor executor(1);
  EXPECT_EQ(executor.run(executable, {}, {}).fault, 0u);
  const Tensor order = executor.output(executable, 0);
  const std::vector<std::int32_t> expected{15,  100, 200, 300, 201, 301, 200, 300,
                                           201, 301, 200, 300, 201, 301, 400, 400};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(order.as<std::int32_t>()[i], expected[i]) << i;
  }
  const Tensor stack = executor.output(executable, 1);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(stack.as<std::int32_t>()[i], 3 - static_cast<std::int32_t>(i));
  }
}

/// Adds up task numbers in the first buffer, one sum per task, and writes them down in the second.
void add_up(std::byte* const* buffers, std::byte*, std::int64_t first, std::int64_t last,
            FaultWord*) {
  auto* sums = reinterpret_cast<std::int32_t*>(buffers[0]);
  auto* slice = reinterpret_cast<std::int32_t*>(buffers[1]);
  for (std::int64_t task = first; task < last; ++task) {
    sums[task] += static_cast<std::int32_t>(task);
    slice[task] = sums[task];
  }
}

TEST(Executor, ALoopByUnitsGoesThroughItsSlices) {
  constexpr std::int64_t kLength = 5;
  for (const std::int64_t workers : {1, 2, 3, 12}) {
    Executable executable;
    executable.arena_bytes = 64 + kLength * kTasks * 4;
    executable.steps = {{.name = "add up",
                         .provenance = "",
                         .function = add_up,
                         .buffers = {{Space::arena, 0, kTasks * 4, true},
                                     {.space = Space::arena,
                                      .offset = 64,
                                      .bytes = kTasks * 4,
                                      .written = true,
                                      .begin = (kLength - 1) * kTasks * 4,
                                      .stride = -kTasks * 4}},
                         .tasks = kTasks,
                         .operations = 1 << 20}};
    executable.chains = {{0, 1, kTasks, true}};
    executable.loops = {{0, 1, kLength}};
    executable.outputs = {{"slices",
                           {ElementType::i32, {kLength, kTasks}},
                           {Space::arena, 64, kLength * kTasks * 4}}};
    Executor executor(workers);
    EXPECT_EQ(executor.run(executable, {}, {}).fault, 0u);
    const Tensor slices = executor.output(executable, 0);
    for (std::int64_t i = 0; i < kLength * kTasks; ++i) {
      EXPECT_EQ(slices.as<std::int32_t>()[static_cast<std::size_t>(i)],
                (kLength - i / kTasks) * (i % kTasks));
    }
    executable.steps[0].buffers[1].stride *= 2;
    EXPECT_THROW((void)executor.run(executable, {}, {}), InternalError);
  }
}

/// Faults in the round in which its task's counter comes to 3 or, of task 0, to 4.
void fault_in_a_late_round(std::byte* const* buffers, std::byte*, std::int64_t first,
                           std::int64_t last, FaultWord* fault) {
  auto* rounds = reinterpret_cast<std::int32_t*>(buffers[0]);
  for (std::int64_t task = first; task < last; ++task) {
    if (++rounds[task] == (task == 0 ? 4 : 3) && *fault == 0) {
      *fault = (FaultWord{1} << 56) | static_cast<FaultWord>(task);
    }
  }
}

TEST(Executor, ALoopByUnitsReportsTheFaultOfTheEarliestRound) {
  for (const std::int64_t workers : {1, 2, 4, 5}) {
    Executable executable;
    executable.arena_bytes = 128;
    const auto step = [](std::string name, std::int64_t offset) {
      return Step{.name = std::move(name),
                  .provenance = "",
                  .function = fault_in_a_late_round,
                  .buffers = {{Space::arena, offset, kTasks * 4, true}},
                  .tasks = kTasks,
                  .operations = 1 << 20};
    };
    executable.steps = {step("first", 0), step("second", 64)};
    executable.chains = {{0, 2, kTasks, true}};
    executable.loops = {{0, 2, 6}};
    Executor executor(workers);
    const RunResult result = executor.run(executable, {}, {});
    EXPECT_EQ(result.fault, (FaultWord{1} << 56) | 1);
    EXPECT_EQ(result.step, 0u);
  }
}

/// Faults at the last task only.
void fault_at_nine(std::byte* const*, std::byte*, std::int64_t first, std::int64_t last,
                   FaultWord* fault) {
  if (first <= 9 && 9 < last && *fault == 0) *fault = (FaultWord{2} << 56) | 9;
}

TEST(Executor, ReportsTheFaultOfTheFirstStepOfAChain) {
  for (const std::int64_t workers : {1, 2, 4, 5}) {
    Executable executable;
    executable.steps = {{.name = "late",
                         .provenance = "",
                         .function = fault_at_nine,
                         .buffers = {},
                         .tasks = kTasks},
                        {.name = "early",
                         .provenance = "",
                         .function = fault_at_thirds,
                         .buffers = {},
                         .tasks = kTasks}};
    executable.chains = {{0, 2, kTasks}};
    Executor executor(workers);
    const RunResult result = executor.run(executable, {}, {});
    EXPECT_EQ(result.fault, (FaultWord{2} << 56) | 9);
    EXPECT_EQ(result.step, 0u);
    executable.steps.erase(executable.steps.begin());
    executable.chains.clear();
    EXPECT_EQ(executor.run(executable, {}, {}).fault, (FaultWord{1} << 56) | 3);
  }
}

TEST(Executor, TimesEachStep) {
  Case c;
  Executor executor(2);
  std::vector<double> seconds(2, 0.0);
  c.run(executor, seconds);
  EXPECT_GT(seconds[0], 0.0);
  const double once = seconds[1];
  c.run(executor, seconds);
  EXPECT_GT(seconds[1], once);
  c.executable.chains = {{0, 2, 5}};
  std::vector<double> chained(2, 0.0);
  c.run(executor, chained);
  EXPECT_GT(chained[0], 0.0);
  EXPECT_GT(chained[1], 0.0);
}

TEST(Executor, RefusesReferencesOutsideTheirBlocks) {
  Executor executor(1);
  const auto refuses = [&](auto&& spoil) {
    Case c;
    spoil(c);
    EXPECT_THROW((void)c.run(executor), InternalError);
  };
  refuses([](Case& c) { c.executable.steps[0].buffers[1].bytes = 65; });
  refuses([](Case& c) { c.executable.steps[0].buffers[1].offset = 32; });
  refuses([](Case& c) { c.executable.steps[0].buffers[1].offset = -64; });
  refuses([](Case& c) { c.executable.steps[0].buffers[0].offset = 1; });
  refuses([](Case& c) { c.executable.steps[0].buffers[0].written = true; });
  refuses([](Case& c) { c.executable.steps[1].buffers[1].written = true; });
  refuses([](Case& c) { c.executable.steps[0].scratch_bytes = 1 << 20; });
  refuses([](Case& c) { c.state.resize(64); });
  refuses([](Case& c) { c.x.bytes.resize(36); });
  refuses([](Case& c) { c.executable.inputs.clear(); });
}

TEST(Executor, NamesMemoryThatCannotBeHad) {
  Case c;
  Executor executor(1);
  c.executable.arena_bytes = std::int64_t{1} << 60;
  try {
    c.run(executor);
    FAIL() << "2^60 bytes were given";
  } catch (const UserError& error) {
    EXPECT_EQ(error.error_class(), ErrorClass::memory);
  }
  c.executable.arena_bytes = 64;
  EXPECT_EQ(c.run(executor).fault, 0u);
}

TEST(StateLayout, PlacesEntriesOnCacheLines) {
  StateLayout layout;
  layout.add("dense/kernel", {ElementType::f32, {3, 5}}, StateKind::parameter);
  layout.add("empty", {ElementType::f32, {0}}, StateKind::slot);
  layout.add("step", {ElementType::i64, {}}, StateKind::counter);
  EXPECT_EQ(layout.bytes, 128);
  EXPECT_EQ(layout.find("dense/kernel")->offset, 0);
  EXPECT_EQ(layout.find("empty")->offset, 64);
  EXPECT_EQ(layout.find("step")->offset, 64);
  EXPECT_EQ(layout.find("step")->kind, StateKind::counter);
  EXPECT_EQ(layout.find("dense/bias"), nullptr);
  EXPECT_THROW(layout.add("step", {ElementType::i64, {}}, StateKind::counter), InternalError);
}

}  // namespace
}  // namespace gradus::runtime
