// Each worker has a mailbox of two cache lines. The caller writes the region and then its number
// into `posted`; the worker runs its range and answers with the same number in `done`. Whoever
// waits spins on the other's number and then sleeps on it. A sleeper raises its flag before it
// reads the number once more, and a writer reads the flag after writing the number, both
// sequentially consistent: one of the two sees the other, so no wake-up is lost.

#include "runtime/thread_pool.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "base/float_environment.h"
#include "runtime/cores.h"

namespace gradus::runtime {
namespace {

constexpr std::chrono::microseconds kSpinTime{200};
constexpr int kPausesPerClockRead = 32;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// A number that one thread writes and one other awaits.
struct Signal {
  std::atomic<std::uint32_t> number{0};
  std::atomic<bool> asleep{false};

  void set(std::uint32_t value) {
    number.store(value);
    if (asleep.load()) number.notify_one();
  }

  /// Returns the first value other than `old`.
  std::uint32_t await_change(std::uint32_t old, bool spin) {
    if (spin) {
      const auto limit = std::chrono::steady_clock::now() + kSpinTime;
      do {
        for (int i = 0; i < kPausesPerClockRead; ++i) {
          const std::uint32_t value = number.load(std::memory_order_acquire);
          if (value != old) return value;
          pause();
        }
      } while (std::chrono::steady_clock::now() < limit);
    }
    asleep.store(true);
    std::uint32_t value = number.load();
    while (value == old) {
      number.wait(old);
      value = number.load();
    }
    asleep.store(false);
    return value;
  }
};

}  // namespace

struct ThreadPool::Mailbox {
  alignas(64) Signal posted;
  Region region = nullptr;  // null: the worker ends
  void* context = nullptr;
  std::int64_t first = 0;
  std::int64_t last = 0;
  alignas(64) Signal done;
};

ThreadPool::ThreadPool(std::int64_t workers) : ThreadPool(workers, usable_cores()) {}

ThreadPool::ThreadPool(std::int64_t workers, std::int64_t cores)
    : workers_(workers), spin_(workers <= cores) {
  GRADUS_CHECK(workers >= 1, "a pool has at least the caller");
  mailboxes_ = std::make_unique<Mailbox[]>(static_cast<std::size_t>(workers));
  threads_.reserve(static_cast<std::size_t>(workers - 1));
  try {
    for (std::int64_t worker = 1; worker < workers; ++worker) {
      threads_.emplace_back([this, worker] { serve(worker); });
    }
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  ++number_;
  for (std::size_t worker = 1; worker <= threads_.size(); ++worker) {
    post(mailboxes_[worker], nullptr);
  }
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::post(Mailbox& mailbox, Region region) {
  mailbox.region = region;
  mailbox.posted.set(number_);
}

void ThreadPool::serve(std::int64_t worker) {
  const FloatEnvironment environment;
  Mailbox& mailbox = mailboxes_[static_cast<std::size_t>(worker)];
  for (std::uint32_t number = 0;;) {
    number = mailbox.posted.await_change(number, spin_);
    if (mailbox.region == nullptr) return;
    mailbox.region(mailbox.context, worker, mailbox.first, mailbox.last);
    mailbox.done.set(number);
  }
}

void ThreadPool::run_region(std::int64_t tasks, std::int64_t most, Region region, void* context) {
  const std::int64_t active = std::min({tasks, most, workers_});
  if (active <= 1) {
    if (tasks > 0) region(context, 0, 0, tasks);
    return;
  }
  ++number_;
  const auto begin = [&](std::int64_t worker) {
    return tasks / active * worker + std::min(worker, tasks % active);
  };
  for (std::int64_t worker = 1; worker < active; ++worker) {
    Mailbox& mailbox = mailboxes_[static_cast<std::size_t>(worker)];
    mailbox.context = context;
    mailbox.first = begin(worker);
    mailbox.last = begin(worker + 1);
    post(mailbox, region);
  }
  region(context, 0, 0, begin(1));
  for (std::int64_t worker = 1; worker < active; ++worker) {
    wait_for(mailboxes_[static_cast<std::size_t>(worker)]);
  }
}

void ThreadPool::wait_for(Mailbox& mailbox) {
  for (std::uint32_t seen = mailbox.done.number.load(std::memory_order_acquire); seen != number_;) {
    seen = mailbox.done.await_change(seen, spin_);
  }
}

}  // namespace gradus::runtime
