// Plans that run steps again: every run finds what its step would have found the first time.

#include "passes/rematerialise.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/random.h"

namespace gradus::passes {
namespace {

std::int64_t copy_of(const StepInstance& instance, std::size_t buffer) {
  const auto copy = instance.copies.find(buffer);
  return copy == instance.copies.end() ? 0 : copy->second;
}

/// Follows the runs with the buffers as what they hold: the expected value is (buffer), and a state
/// has a version. Returns the most bytes alive at one run.
std::int64_t follow(const MemoryProgram& program, const std::vector<StepInstance>& runs) {
  using Copy = std::pair<std::size_t, std::int64_t>;
  std::map<Copy, std::pair<std::size_t, std::size_t>> lifetimes;
  std::vector<std::size_t> first(program.steps.size(), runs.size());
  std::vector<std::map<std::size_t, bool>> seen(program.steps.size());  // which states were new
  std::map<std::size_t, bool> updated;
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    for (std::size_t state : program.steps[i].state_reads) seen[i][state] = updated[state];
    for (std::size_t state : program.steps[i].state_writes) updated[state] = true;
  }
  updated.clear();
  for (std::size_t at = 0; at < runs.size(); ++at) {
    const MemoryStep& step = program.steps[runs[at].step];
    for (std::size_t read : step.reads) {
      const auto written = lifetimes.find({read, copy_of(runs[at], read)});
      EXPECT_NE(written, lifetimes.end()) << "run " << at << " reads what is not there";
      if (written != lifetimes.end()) written->second.second = at;
    }
    for (std::size_t write : step.writes) {
      const auto [entry, added] =
          lifetimes.emplace(Copy{write, copy_of(runs[at], write)}, std::pair{at, at});
      EXPECT_TRUE(added) << "run " << at << " writes what is there";
    }
    const bool is_first = first[runs[at].step] == runs.size();
    if (is_first) first[runs[at].step] = at;
    EXPECT_TRUE(is_first || step.state_writes.empty());
    for (std::size_t state : step.state_reads) {
      EXPECT_EQ(seen[runs[at].step][state], updated[state]) << "run " << at;
    }
    for (std::size_t state : step.state_writes) updated[state] = true;
  }
  for (std::size_t i = 0; i < program.steps.size(); ++i) EXPECT_LT(first[i], runs.size());
  std::vector<std::int64_t> alive(runs.size(), 0);
  for (const auto& [copy, lifetime] : lifetimes) {
    const StepBuffer& buffer = program.buffers[copy.first];
    const bool kept = buffer.kept && copy.second == 0;
    const std::size_t last = kept ? runs.size() - 1 : lifetime.second;
    for (std::size_t at = lifetime.first; at <= last; ++at) alive[at] += buffer.bytes;
  }
  return *std::ranges::max_element(alive);
}

/// Forward y[i + 1] = f(y[i]), backward d[i] = g(d[i + 1], y[i]); each step reads its own weight,
/// which its backward step updates.
MemoryProgram chain(std::size_t layers, bool contractions) {
  MemoryProgram program;
  program.buffers.assign(2 * layers, {1024, false, false});
  program.buffers.back().kept = true;
  for (std::size_t i = 0; i < layers; ++i) {
    program.steps.push_back({{}, {i}, {i}, {}, 1000, contractions});
    if (i > 0) program.steps.back().reads = {i - 1};
  }
  for (std::size_t i = layers; i-- > 0;) {
    const std::size_t made = 2 * layers - 1 - i;
    program.steps.push_back({{i}, {made}, {i}, {i}, 1000, contractions});
    if (made - 1 != i) program.steps.back().reads.push_back(made - 1);
  }
  return program;
}

TEST(Rematerialise, LeavesWhatFits) {
  const MemoryProgram program = chain(8, true);
  const std::vector<StepInstance> runs = rematerialise(program, 1 << 20);
  EXPECT_EQ(runs.size(), program.steps.size());
  EXPECT_EQ(follow(program, runs), 9 * 1024);
}

TEST(Rematerialise, AChainNeedsTheRootOfItsLength) {
  for (const bool contractions : {false, true}) {
    const MemoryProgram program = chain(64, contractions);
    const std::vector<StepInstance> runs = rematerialise(program, 20 * 1024);
    EXPECT_LE(follow(program, runs), 20 * 1024) << contractions;
    EXPECT_LE(runs.size(), 5 * program.steps.size());
  }
}

/// Every layer reads the three before it: what several need again is made once for all of them.
TEST(Rematerialise, WhatIsReadTwiceIsMadeOnce) {
  MemoryProgram program = chain(48, false);
  for (std::size_t i = 3; i < 48; ++i) {
    program.steps[i].reads.insert(program.steps[i].reads.end(), {i - 2, i - 3});
  }
  const std::vector<StepInstance> runs = rematerialise(program, 1);
  EXPECT_LT(follow(program, runs), 24 * 1024);
  EXPECT_LE(runs.size(), 40 * program.steps.size());
}

/// Dear values are kept where cheap ones suffice: y[i] by a contraction, z[i] from it by a map.
TEST(Rematerialise, TheCutKeepsContractions) {
  MemoryProgram program;
  const std::size_t layers = 10;
  for (std::size_t i = 0; i < layers; ++i) {
    program.buffers.insert(program.buffers.end(), {{1024, false, false}, {4096, false, false}});
    program.steps.push_back({{}, {2 * i}, {}, {}, 100000, true});
    if (i > 0) program.steps.back().reads = {2 * i - 1};
    program.steps.push_back({{2 * i}, {2 * i + 1}, {}, {}, 100, false});
  }
  for (std::size_t i = layers; i-- > 0;) {
    const std::size_t made = program.buffers.size();
    program.buffers.push_back({1024, i == 0, false});
    program.steps.push_back({{made - 1, 2 * i, 2 * i + 1}, {made}, {}, {}, 100000, true});
  }
  const std::vector<StepInstance> runs = rematerialise(program, 24 * 1024);
  EXPECT_LE(follow(program, runs), 24 * 1024);
  for (const StepInstance& run : runs) {
    const MemoryStep& step = program.steps[run.step];
    if (!step.contraction) continue;
    EXPECT_EQ(copy_of(run, step.writes[0]), 0);
  }
}

TEST(Rematerialise, RandomProgramsStayRight) {
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    support::Random random(seed);
    MemoryProgram program;
    const auto count = static_cast<std::size_t>(random.between(2, 40));
    constexpr std::size_t kStates = 4;
    std::vector<bool> updated(kStates, false);
    for (std::size_t i = 0; i < count; ++i) {
      program.buffers.push_back(
          {64 * random.between(1, 100), random.between(0, 9) == 0, random.between(0, 9) == 0});
      MemoryStep step{{}, {i}, {}, {}, random.between(1, 10000), random.between(0, 2) == 0};
      for (int k = 0; k < 3 && i > 0; ++k) {
        const auto read =
            static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(i) - 1));
        if (std::ranges::find(step.reads, read) == step.reads.end()) step.reads.push_back(read);
      }
      const auto state = static_cast<std::size_t>(random.between(0, kStates - 1));
      step.state_reads.push_back(state);
      if (random.between(0, 7) == 0 && !updated[state]) {
        step.state_writes.push_back(state);
        updated[state] = true;
      }
      program.steps.push_back(std::move(step));
    }
    const std::int64_t before = follow(program, rematerialise(program, std::int64_t{1} << 40));
    EXPECT_LE(follow(program, rematerialise(program, before / 2)), before);
    EXPECT_LE(follow(program, rematerialise(program, 1)), before);
    if (testing::Test::HasFailure()) return;
  }
}

/// Where two values of each level are made of the two before, what leads to one is made again once,
/// not once for each path.
TEST(Rematerialise, SharedOperandsAreMadeAgainOnce) {
  constexpr std::size_t kLevels = 40;
  constexpr std::int64_t kLarge = 1 << 20;
  MemoryProgram program;
  program.steps.push_back({{}, {0}, {0}, {}, 10, false});
  program.steps.push_back({{}, {1}, {0}, {}, 10, false});
  for (std::size_t level = 1; level < kLevels; ++level) {
    const std::size_t above = 2 * level - 2;
    for (std::size_t i = 0; i < 2; ++i) {
      program.steps.push_back({{above, above + 1}, {2 * level + i}, {}, {}, 10, false});
    }
  }
  program.buffers.assign(2 * kLevels, {64, false, false});
  const std::size_t large = program.buffers.size();
  const std::size_t other = large + 1;
  const std::size_t result = large + 2;
  program.buffers.push_back({kLarge, false, false});
  program.buffers.push_back({kLarge, false, false});
  program.buffers.push_back({64, true, false});
  program.steps.push_back({{large - 2, large - 1}, {large}, {}, {}, 10, false});
  program.steps.push_back({{large}, {other}, {}, {}, 10, true});
  program.steps.push_back({{other}, {result}, {}, {}, 10, true});
  program.steps.push_back({{large, result}, {result + 1}, {}, {}, 10, false});
  program.buffers.push_back({kLarge / 2, false, false});
  program.steps.push_back({{result + 1}, {result + 2}, {}, {}, 10, true});
  program.buffers.push_back({64, true, false});
  const std::vector<StepInstance> runs = rematerialise(program, 0);
  follow(program, runs);
  EXPECT_LE(runs.size(), 3 * program.steps.size());
}

}  // namespace
}  // namespace gradus::passes
