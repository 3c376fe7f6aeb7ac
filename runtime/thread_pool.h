#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace gradus::runtime {

/// Workers that live as long as the pool and share out the tasks of one region after another.
/// Worker 0 is the caller. Between regions the others spin for about 200 microseconds, as long as
/// many a kernel that only one of them has a task of, and then sleep; with more workers than cores
/// they sleep at once. Workers are not pinned to cores: the caller's thread is not ours to pin, and
/// a worker pinned to the caller's core would wait for it. Not reentrant: one region at a time, and
/// none from inside a task.
class ThreadPool {
 public:
  /// `workers` counts the caller; at least 1. `cores` decides whether waiting spins. Throws
  /// std::system_error when the system gives no more threads.
  ThreadPool(std::int64_t workers, std::int64_t cores);
  explicit ThreadPool(std::int64_t workers);  // on the cores of this machine
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] std::int64_t workers() const { return workers_; }

  /// Calls function(worker, first, last) so that the ranges [first, last) cover [0, tasks) once,
  /// in ascending order of workers and nearly equal; returns when all have returned. At most
  /// `most` workers, and no more than tasks, take part. The function must not throw. Workers other
  /// than the caller run it under FloatEnvironment; the caller's environment is left as it is.
  template <typename Function>
  void run(std::int64_t tasks, std::int64_t most, Function&& function) {
    using Callable = std::remove_reference_t<Function>;
    run_region(
        tasks, most,
        [](void* context, std::int64_t worker, std::int64_t first, std::int64_t last) {
          (*static_cast<Callable*>(context))(worker, first, last);
        },
        const_cast<void*>(static_cast<const void*>(&function)));
  }

 private:
  using Region = void (*)(void* context, std::int64_t worker, std::int64_t first,
                          std::int64_t last);
  struct Mailbox;

  void run_region(std::int64_t tasks, std::int64_t most, Region region, void* context);
  void stop();
  void post(Mailbox& mailbox, Region region);
  void wait_for(Mailbox& mailbox);
  void serve(std::int64_t worker);

  std::int64_t workers_;
  bool spin_;
  std::uint32_t number_ = 0;  // of the current region
  std::unique_ptr<Mailbox[]> mailboxes_;
  std::vector<std::thread> threads_;
};

}  // namespace gradus::runtime
