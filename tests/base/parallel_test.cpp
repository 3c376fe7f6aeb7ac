#include "base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

namespace gradus {
namespace {

TEST(Parallel, CallsEachNumberOnce) {
  for (const int threads : {0, 1, 2, 5}) {
    for (const std::size_t count : {0u, 1u, 3u, 100u}) {
      std::vector<std::atomic<int>> calls(count);
      for_each_parallel(count, threads, [&](std::size_t i) { ++calls[i]; });
      for (const std::atomic<int>& number : calls) EXPECT_EQ(number, 1);
    }
  }
}

TEST(Parallel, ThrowsWhatTheSmallestNumberThrew) {
  for (const int threads : {1, 3}) {
    std::atomic<int> calls = 0;
    try {
      for_each_parallel(20, threads, [&](std::size_t i) {
        ++calls;
        if (i % 7 == 5) throw std::runtime_error(std::to_string(i));
      });
      ADD_FAILURE() << "nothing thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "5");
    }
    EXPECT_EQ(calls, 20);
  }
}

}  // namespace
}  // namespace gradus
