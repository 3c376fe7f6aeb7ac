#include "bench/bounds.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/stopwatch.h"

namespace gradus::bench {
namespace {

double median(std::vector<double> samples) {
  if (samples.empty()) return 0;
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::ranges::nth_element(samples, middle);
  return *middle;
}

/// The problem's math on data of at most `bytes`, several times over.
std::unique_ptr<MeasuredProblem> cut_down(const Problem& problem, const Workload& work,
                                          std::int64_t bytes, int threads,
                                          runtime::Executor& executor) {
  const std::int64_t size = problem.integer(work.size_key);
  const double ratio =
      std::min(1.0, static_cast<double>(bytes) / static_cast<double>(work.footprint));
  const auto less =
      std::max<std::int64_t>(static_cast<std::int64_t>(ratio * static_cast<double>(size)), threads);
  constexpr std::int64_t kRunBytes = 1 << 22;
  return std::make_unique<MeasuredProblem>(arithmetic_of(problem.with(work.size_key, less)),
                                           compile_options(threads), executor,
                                           std::max<std::int64_t>(kRunBytes / bytes, 1));
}

/// Bytes per second of the problem if it did nothing but its math, by the fastest of `near`.
double math_rate(const std::vector<std::unique_ptr<MeasuredProblem>>& near) {
  double best = 0;
  for (const auto& smaller : near) {
    smaller->run();
    const Stopwatch watch;
    smaller->run();
    const double took = watch.seconds();
    best = std::max(best, smaller->work().bytes * static_cast<double>(smaller->times()) / took);
  }
  return best;
}

}  // namespace

std::vector<Level> levels() {
  std::vector<Level> result;
  for (const benchmark::CPUInfo::CacheInfo& cache : benchmark::CPUInfo::Get().caches) {
    if (cache.type == "Instruction") continue;
    result.push_back({fmt::format("L{}", cache.level), cache.size, cache.level > 2});
  }
  return result;
}

codegen::CompileOptions compile_options(int threads) {
  codegen::CompileOptions options;
  options.threads = threads;
  return options;
}

Bounds::Bounds(const Problem& problem, const Workload& work, int threads,
               runtime::Executor& executor)
    : limit_(work.limit),
      footprint_(work.footprint),
      in_place_(work.in_place),
      meter_(codegen::make_target(compile_options(threads).set), executor) {
  if (limit_ != Limit::memory) return;
  for (const Level& level : levels()) {
    if (level.shared) continue;
    near_.push_back(cut_down(problem, work, threads * level.bytes * 3 / 4, threads, executor));
  }
  const MeasuredProblem& math = *near_.front();
  const double elements = math.work().elements;
  operations_ = static_cast<double>(math.operations()) / elements;
  bytes_ = math.work().bytes / elements;
}

void Bounds::clear() {
  fma_.clear();
  copy_.clear();
  math_.clear();
}

void Bounds::sample() {
  fma_.push_back(meter_.flops());
  if (limit_ != Limit::memory) return;
  copy_.push_back(meter_.copied(footprint_, in_place_));
  math_.push_back(math_rate(near_));
}

double Bounds::fma() const { return median(fma_); }
double Bounds::copy() const { return median(copy_); }
double Bounds::math() const { return median(math_); }

double Bounds::issue() const {
  constexpr double kOperationsOfFma = 2;
  return math() / bytes_ * operations_ / (fma() / kOperationsOfFma);
}

double Bounds::rate() const { return limit_ == Limit::memory ? std::min(copy(), math()) : fma(); }

}  // namespace gradus::bench
