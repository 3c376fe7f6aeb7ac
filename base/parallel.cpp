#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace gradus {

void for_each_parallel(std::size_t count, int threads,
                       const std::function<void(std::size_t)>& function) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::exception_ptr> failures(count);
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        function(i);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    }
  };
  {
    const std::size_t workers = std::min(count, static_cast<std::size_t>(std::max(threads, 1)));
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < workers; ++i) others.emplace_back(work);
    work();
  }
  const auto failed = std::ranges::find_if(failures, [](const auto& f) { return f != nullptr; });
  if (failed != failures.end()) std::rethrow_exception(*failed);
}

}  // namespace gradus
