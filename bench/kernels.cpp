// Measures problem lists. Every sample - a repetition of Google Benchmark's - measures the machine
// before and after the problem, so that a share compares two figures of one moment.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "base/diagnostic.h"
#include "base/float_environment.h"
#include "bench/measured_problem.h"
#include "bench/report.h"
#include "tools/machine_peak.h"

namespace gradus::bench {
namespace {

constexpr const char* kUsage =
    "bench_kernels [--threads=1,2] [--check=yes|no] FILE...\n"
    "  FILE            problems, one per line: bench/problems\n"
    "  --threads=...   numbers of workers; default 1\n"
    "  --check=...     whether to compare with the interpreter; default yes\n"
    "and Google Benchmark's: --benchmark_filter=PATTERN, --benchmark_repetitions=N,\n"
    "--benchmark_min_time=SECONDS, --benchmark_out=FILE (JSON), ...\n";

// Before the user's options, of which the last one counts.
const char* const kDefaults[] = {"--benchmark_repetitions=7", "--benchmark_min_time=0.05"};
constexpr int kPeakSamples = 3;  // before and after each

struct Options {
  std::vector<int> threads{1};
  bool check = true;
  std::vector<std::string> files;
};

/// A size in bytes and the name of the data cache of that size; the last one is memory.
struct Level {
  std::string name;
  std::int64_t bytes = 0;  // of a worker, or of all together
  bool shared = false;
};

std::vector<Level> levels() {
  std::vector<Level> result;
  for (const benchmark::CPUInfo::CacheInfo& cache : benchmark::CPUInfo::Get().caches) {
    if (cache.type == "Instruction") continue;
    result.push_back({fmt::format("L{}", cache.level), cache.size, cache.level > 2});
  }
  return result;
}

/// The measured problem of the moment with what it is compared with; only one is in memory.
struct Current {
  std::string name;
  std::unique_ptr<runtime::Executor> executor;
  std::unique_ptr<tools::PeakMeter> meter;
  std::unique_ptr<MeasuredProblem> problem;
  std::vector<std::unique_ptr<MeasuredProblem>> smaller;  // whose data fit a near cache
  std::string wrong;
};

codegen::CompileOptions compile_options(int threads) {
  codegen::CompileOptions options;
  options.threads = threads;
  return options;
}

/// The problem's arithmetic on data of at most `bytes`, several times over.
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

void prepare(Current& now, const Problem& problem, const std::string& name, int threads,
             bool check) {
  now = {};
  now.name = name;
  const codegen::CompileOptions options = compile_options(threads);
  now.executor = std::make_unique<runtime::Executor>(threads);
  now.meter = std::make_unique<tools::PeakMeter>(codegen::make_target(options.set), *now.executor);
  now.problem = std::make_unique<MeasuredProblem>(workload_of(problem), options, *now.executor);
  if (check) now.wrong = now.problem->check();
  if (now.problem->work().limit != Limit::memory) return;
  for (const Level& level : levels()) {
    if (level.shared) continue;
    now.smaller.push_back(cut_down(problem, now.problem->work(), threads * level.bytes * 3 / 4,
                                   threads, *now.executor));
  }
}

/// Bytes per second of the work on data near the processor: what its arithmetic allows.
double arithmetic_rate(const Current& now) {
  double best = 0;
  for (const auto& smaller : now.smaller) {
    smaller->run();
    const auto start = std::chrono::steady_clock::now();
    smaller->run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best,
                    smaller->work().bytes * static_cast<double>(smaller->times()) / took.count());
  }
  return best;
}

/// What the machine could do around a sample. Of fma the median counts: clocks rise while a
/// processor waits for memory, and fall when it multiplies again.
class Peak {
 public:
  void sample(const Current& now) {
    const Workload& work = now.problem->work();
    for (int i = 0; i < kPeakSamples; ++i) {
      if (work.limit == Limit::arithmetic) {
        fma_.push_back(now.meter->flops());
      } else {
        copy = std::max(copy, now.meter->copied(work.footprint, work.in_place));
        math = std::max(math, arithmetic_rate(now));
      }
    }
  }
  [[nodiscard]] double fma() {
    const auto middle = fma_.begin() + static_cast<std::ptrdiff_t>(fma_.size() / 2);
    std::ranges::nth_element(fma_, middle);
    return *middle;
  }

  double copy = 0;
  double math = 0;

 private:
  std::vector<double> fma_;
};

std::string level_of(const Workload& work, int threads) {
  for (const Level& level : levels()) {
    if (work.footprint <= level.bytes * (level.shared ? 1 : threads)) return level.name;
  }
  return "memory";
}

void measure(benchmark::State& state, Current& now, int threads, const std::string& group) {
  if (!now.wrong.empty()) {
    state.SkipWithError(now.wrong.c_str());
    return;
  }
  const Workload& work = now.problem->work();
  const FloatEnvironment environment;
  Peak peak;
  peak.sample(now);
  now.problem->run();
  for (auto iteration : state) now.problem->run();
  peak.sample(now);
  using benchmark::Counter;
  const auto rate = [](double of) { return Counter(of, Counter::kIsIterationInvariantRate); };
  if (work.limit == Limit::arithmetic) {
    state.counters["flops"] = rate(work.operations);
    const double fma = peak.fma();
    state.counters["fma"] = fma;
    state.counters["share"] = rate(work.operations / fma);
  } else {
    state.counters["bytes"] = rate(work.bytes);
    state.counters["copy"] = peak.copy;
    state.counters["math"] = peak.math;
    state.counters["share"] = rate(work.bytes / std::min(peak.copy, peak.math));
  }
  state.counters["spills"] = now.problem->vector_spills();
  state.SetLabel(group + "|" + level_of(work, threads));
}

std::string group_of(const Problem& problem, const std::string& file, int threads) {
  std::string group = std::filesystem::path(file).stem().string();
  for (const char* key : {"transposed", "direction"}) {
    if (const std::string value = problem.text(key, ""); !value.empty()) {
      group += fmt::format(" {}={}", key, value);
    }
  }
  return group + fmt::format(" threads={}", threads);
}

void add(const Options& options) {
  const auto now = std::make_shared<Current>();
  for (const std::string& file : options.files) {
    std::ifstream stream(file);
    if (!stream) throw ProblemError("cannot read " + file);
    std::ostringstream text;
    text << stream.rdbuf();
    for (const Problem& problem : parse_problems(text.str(), file)) {
      for (int threads : options.threads) {
        const std::string name = fmt::format("{} threads={}", problem.name(), threads);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=, group = group_of(problem, file, threads),
                                      check = options.check](benchmark::State& state) {
                                       if (now->name != name)
                                         prepare(*now, problem, name, threads, check);
                                       measure(state, *now, threads, group);
                                     })
            ->Unit(benchmark::kMicrosecond)
            ->UseRealTime();
      }
    }
  }
}

/// What the machine can do, measured once for orientation.
std::string heading(const Options& options) {
  std::string text;
  for (int threads : options.threads) {
    runtime::Executor executor(threads);
    const codegen::Target target = codegen::make_target(codegen::InstructionSet::native);
    tools::PeakMeter meter(target, executor);
    double fma = 0;
    for (int i = 0; i < 4 * kPeakSamples; ++i) fma = std::max(fma, meter.flops());
    text += fmt::format("{} with {} thread{}: {:.0f} GFLOP/s of fma; copied", target.cpu, threads,
                        threads == 1 ? "" : "s", 1e-9 * fma);
    std::vector<Level> all = levels();
    constexpr std::int64_t kFar = 1 << 27;
    constexpr std::int64_t kNear = 1 << 24;  // of a cache that other machines may share
    all.push_back({"memory", 2 * kFar, true});
    for (const Level& level : all) {
      const std::int64_t bytes =
          level.shared ? std::min(level.bytes / 2, level.name == "memory" ? kFar : kNear)
                       : level.bytes / 2 * threads;
      double rate = 0;
      for (int i = 0; i < kPeakSamples; ++i) rate = std::max(rate, meter.copied(bytes));
      text += fmt::format(" {:.0f} GB/s in {},", 1e-9 * rate, level.name);
    }
    text.back() = '\n';
  }
  return text;
}

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = arguments[i];
    if (word.starts_with("--threads=")) {
      options.threads.clear();
      std::istringstream numbers{std::string(word.substr(word.find('=') + 1))};
      for (std::string number; std::getline(numbers, number, ',');) {
        options.threads.push_back(std::max(1, std::stoi(number)));
      }
    } else if (word == "--check=no" || word == "--check=yes") {
      options.check = word == "--check=yes";
    } else if (word.starts_with("-")) {
      throw ProblemError(fmt::format("no option {}\n{}", word, kUsage));
    } else {
      options.files.emplace_back(word);
    }
  }
  if (options.files.empty()) throw ProblemError(kUsage);
  return options;
}

int run(std::vector<std::string> words) {
  words.insert(words.begin() + 1, std::begin(kDefaults), std::end(kDefaults));
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  auto count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  const Options options = parse(count, arguments.data());
  add(options);
  TableReporter table(heading(options));
  benchmark::RunSpecifiedBenchmarks(&table);
  benchmark::Shutdown();
  return table.failed() ? 1 : 0;
}

}  // namespace
}  // namespace gradus::bench

int main(int count, char** arguments) {
  try {
    return gradus::bench::run({arguments, arguments + count});
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
  }
}
