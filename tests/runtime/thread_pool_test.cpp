#include "runtime/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "runtime/cores.h"

namespace gradus::runtime {
namespace {

struct Range {
  std::int64_t worker = -1;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

TEST(Cores, AtLeastOne) { EXPECT_GE(usable_cores(), 1); }

TEST(ThreadPool, RangesCoverEveryTaskOnceInOrderOfWorkers) {
  for (const std::int64_t workers : {1, 2, 3, 7}) {
    ThreadPool pool(workers);
    EXPECT_EQ(pool.workers(), workers);
    for (const std::int64_t tasks : {0, 1, 2, 3, 6, 7, 8, 20, 100}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      std::vector<Range> ranges(static_cast<std::size_t>(workers));
      pool.run(tasks, tasks, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
        ranges[static_cast<std::size_t>(worker)] = {worker, first, last};
        for (std::int64_t task = first; task < last; ++task) {
          ++runs[static_cast<std::size_t>(task)];
        }
      });
      for (const std::atomic<int>& count : runs) EXPECT_EQ(count, 1);
      std::int64_t next = 0;
      for (const Range& range : ranges) {
        if (range.worker < 0) continue;
        EXPECT_EQ(range.first, next);
        EXPECT_LE(range.last - range.first, (tasks + workers - 1) / workers);
        next = range.last;
      }
      EXPECT_EQ(next, tasks);
    }
  }
}

TEST(ThreadPool, RegionsSeeWhatTheOnesBeforeWrote) {
  for (const std::int64_t cores : {1, 4}) {  // sleeping and spinning
    ThreadPool pool(4, cores);
    std::vector<std::size_t> values(64, 0);
    std::vector<std::size_t> next(64, 0);
    std::vector<std::size_t> expected(64, 0);
    for (int round = 0; round < 2000; ++round) {
      const auto step = [](const std::vector<std::size_t>& from, std::size_t i) {
        return from[(i * 37 + 17) % 64] * 3 + i;  // mostly another worker's value
      };
      pool.run(64, 64, [&](std::int64_t, std::int64_t first, std::int64_t last) {
        for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
          next[i] = step(values, i);
        }
      });
      std::swap(values, next);
      for (std::size_t i = 0; i < 64; ++i) next[i] = step(expected, i);
      std::swap(expected, next);
    }
    EXPECT_EQ(values, expected);
  }
}

TEST(ThreadPool, FewTasksAmongMany) {
  ThreadPool pool(4, 4);
  std::int64_t sum = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::int64_t tasks = round % 6;
    std::vector<std::int64_t> partial(4, 0);
    pool.run(tasks, tasks, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
      partial[static_cast<std::size_t>(worker)] += last - first;
    });
    EXPECT_EQ(std::accumulate(partial.begin(), partial.end(), std::int64_t{0}), tasks);
    sum += tasks;
  }
  EXPECT_EQ(sum, 7500);
}

TEST(ThreadPool, WakesAfterSleeping) {
  ThreadPool pool(2, 2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> calls = 0;
    pool.run(2, 2, [&](std::int64_t, std::int64_t, std::int64_t) { ++calls; });
    EXPECT_EQ(calls, 2);
  }
}

TEST(ThreadPool, TakesNoMoreWorkersThanWanted) {
  ThreadPool pool(4, 4);
  for (std::int64_t most = 1; most <= 4; ++most) {
    std::vector<std::atomic<std::int64_t>> done(4);
    pool.run(10, most, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
      done[static_cast<std::size_t>(worker)] += last - first;
    });
    std::int64_t all = 0;
    for (std::int64_t worker = 0; worker < 4; ++worker) {
      const std::int64_t own = done[static_cast<std::size_t>(worker)];
      EXPECT_EQ(own > 0, worker < most) << worker << " of " << most;
      all += own;
    }
    EXPECT_EQ(all, 10);
  }
}

TEST(ThreadPool, WaitsForASlowWorker) {
  ThreadPool pool(3, 3);
  std::atomic<int> finished = 0;
  pool.run(3, 3, [&](std::int64_t worker, std::int64_t, std::int64_t) {
    if (worker > 0) std::this_thread::sleep_for(std::chrono::milliseconds(3 * worker));
    ++finished;
  });
  EXPECT_EQ(finished, 3);
}

TEST(ThreadPool, WorkersFlushSubnormals) {
  ThreadPool pool(3);
  volatile float smallest_normal = 1.17549435e-38f;
  std::vector<float> halves(3, -1.0f);
  pool.run(3, 3, [&](std::int64_t worker, std::int64_t, std::int64_t) {
    halves[static_cast<std::size_t>(worker)] = smallest_normal * 0.5f;
  });
  EXPECT_GT(halves[0], 0.0f);  // the caller's own environment
  EXPECT_EQ(halves[1], 0.0f);
  EXPECT_EQ(halves[2], 0.0f);
}

}  // namespace
}  // namespace gradus::runtime
