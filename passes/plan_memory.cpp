#include "passes/plan_memory.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace gradus::passes {
namespace {

constexpr std::int64_t kAlignment = 64;

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

bool overlap(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

MemoryPlan first_fit(const std::vector<Lifetime>& buffers, const std::vector<std::size_t>& order) {
  MemoryPlan plan;
  plan.offsets.assign(buffers.size(), 0);
  std::vector<std::size_t> placed;  // by offset
  for (std::size_t i : order) {
    const std::int64_t size = aligned(buffers[i].bytes);
    std::int64_t offset = 0;
    for (std::size_t j : placed) {
      if (!overlap(buffers[i], buffers[j])) continue;
      if (offset + size <= plan.offsets[j]) break;
      offset = std::max(offset, plan.offsets[j] + aligned(buffers[j].bytes));
    }
    plan.offsets[i] = offset;
    plan.peak_bytes = std::max(plan.peak_bytes, offset + size);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](std::size_t a, std::size_t b) {
                                     return plan.offsets[a] < plan.offsets[b];
                                   }),
                  i);
  }
  return plan;
}

std::int64_t greatest_alive(const std::vector<Lifetime>& buffers) {
  std::int64_t greatest = 0;
  for (const Lifetime& at : buffers) {
    std::int64_t alive = 0;
    for (const Lifetime& other : buffers) {
      if (other.first <= at.first && at.first <= other.last) alive += aligned(other.bytes);
    }
    greatest = std::max(greatest, alive);
  }
  return greatest;
}

}  // namespace

MemoryPlan plan_memory(const std::vector<Lifetime>& buffers) {
  const auto by_size = [&](std::size_t i) {
    return std::tuple{-buffers[i].bytes, buffers[i].first, i};
  };
  const auto by_area = [&](std::size_t i) {
    return std::tuple{-buffers[i].bytes * (buffers[i].last - buffers[i].first + 1),
                      buffers[i].first, i};
  };
  const auto by_time = [&](std::size_t i) {
    return std::tuple{buffers[i].first, -buffers[i].bytes, i};
  };
  MemoryPlan best;
  bool first = true;
  const auto attempt = [&](const auto& key) {
    std::vector<std::size_t> order(buffers.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    MemoryPlan plan = first_fit(buffers, order);
    if (first || plan.peak_bytes < best.peak_bytes) best = std::move(plan);
    first = false;
  };
  attempt(by_size);
  attempt(by_area);
  attempt(by_time);
  best.lower_bound_bytes = greatest_alive(buffers);
  return best;
}

}  // namespace gradus::passes
