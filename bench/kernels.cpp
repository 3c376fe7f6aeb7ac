// Measures problem lists. In every repetition the problem and what bounds it run in turns, so that
// a share compares medians of the same moments.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "base/diagnostic.h"
#include "base/float_environment.h"
#include "base/stopwatch.h"
#include "bench/bounds.h"
#include "bench/report.h"
#include "bench/show.h"

namespace gradus::bench {
namespace {

constexpr const char* kUsage =
    "bench_kernels [--threads=1,2] [--check=yes|no] [--show=WHAT] FILE...\n"
    "  FILE            problems, one per line: bench/problems\n"
    "  --threads=...   numbers of workers; default 1\n"
    "  --check=...     whether to compare with the interpreter; default yes\n"
    "  --show=...      print the problems' graph, kernels or assembly, and measure nothing\n"
    "and Google Benchmark's: --benchmark_filter=PATTERN, --benchmark_repetitions=N,\n"
    "--benchmark_out=FILE (JSON), ...\n";

// Before the user's options, of which the last one counts.
const char* const kDefaults[] = {"--benchmark_repetitions=7"};
constexpr int kTurns = 9;        // of a repetition
constexpr double kTurn = 1e-3;   // seconds
constexpr int kPeakSamples = 3;  // of the heading's rates

struct Options {
  std::vector<int> threads{1};
  bool check = true;
  std::string show;
  std::vector<std::string> files;
};

/// The measured problem of the moment with what it is compared with; only one is in memory.
struct Current {
  std::string name;
  std::unique_ptr<runtime::Executor> executor;
  std::unique_ptr<MeasuredProblem> problem;
  std::unique_ptr<Bounds> bounds;
  std::string wrong;
};

void prepare(Current& now, const Problem& problem, const std::string& name, int threads,
             bool check) {
  now = {};
  now.name = name;
  now.executor = std::make_unique<runtime::Executor>(threads);
  now.problem = std::make_unique<MeasuredProblem>(workload_of(problem), compile_options(threads),
                                                  *now.executor);
  if (check) now.wrong = now.problem->check();
  now.bounds = std::make_unique<Bounds>(problem, now.problem->work(), threads, *now.executor);
}

std::string level_of(const Workload& work, int threads) {
  for (const Level& level : levels()) {
    if (work.footprint <= level.bytes * (level.shared ? 1 : threads)) return level.name;
  }
  return "memory";
}

/// Seconds of one run, by as many runs as take a turn.
double seconds_of_turn(MeasuredProblem& problem) {
  problem.run();  // brings data near and clocks up
  const Stopwatch watch;
  double took = 0;
  int runs = 0;
  do {
    problem.run();
    ++runs;
    took = watch.seconds();
  } while (took < kTurn);
  return took / runs;
}

/// A repetition: the problem and what bounds it, in turns.
void measure(benchmark::State& state, Current& now, int threads, const std::string& group) {
  if (!now.wrong.empty()) {
    state.SkipWithError(now.wrong.c_str());
    return;
  }
  const Workload& work = now.problem->work();
  const FloatEnvironment environment;
  Bounds& bounds = *now.bounds;
  bounds.clear();
  std::vector<double> seconds(kTurns);
  const auto middle = seconds.begin() + kTurns / 2;
  for (auto repetition : state) {
    for (double& turn : seconds) {
      bounds.sample();
      turn = seconds_of_turn(*now.problem);
    }
    std::ranges::nth_element(seconds, middle);
    state.SetIterationTime(*middle);
  }
  const double done = work.limit == Limit::arithmetic ? work.operations : work.bytes;
  if (work.limit == Limit::arithmetic) {
    state.counters["flops"] = done / *middle;
    state.counters["fma"] = bounds.fma();
  } else {
    state.counters["bytes"] = done / *middle;
    state.counters["copy"] = bounds.copy();
    state.counters["math"] = bounds.math();
    state.counters["operations"] = bounds.operations();
    state.counters["issue"] = bounds.issue();
  }
  state.counters["share"] = done / *middle / bounds.rate();
  state.counters["spills"] = now.problem->vector_spills();
  state.SetLabel(group + "|" + level_of(work, threads));
}

/// Prints the problem in the place of a measurement, once for all repetitions.
void show(benchmark::State& state, Current& now, const Problem& problem, const std::string& name,
          const std::string& what, int threads) {
  if (now.name != name) std::cout << fmt::format("# {}\n{}\n", name, shown(problem, what, threads));
  now.name = name;
  for (auto repetition : state) state.SetIterationTime(0);
}

std::string group_of(const Problem& problem, const std::string& file, int threads) {
  std::string group = std::filesystem::path(file).stem().string();
  for (const char* key : {"transposed", "causal", "direction"}) {
    if (const std::string value = problem.text(key, ""); !value.empty()) {
      group += fmt::format(" {}={}", key, value);
    }
  }
  return group + fmt::format(" threads={}", threads);
}

std::vector<Problem> problems_of(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) throw ProblemError("cannot read " + file);
  std::ostringstream text;
  text << stream.rdbuf();
  return parse_problems(text.str(), file);
}

/// Registers what options.files name; which of it runs is for Google Benchmark to say.
void add(const Options& options) {
  const auto now = std::make_shared<Current>();
  for (const std::string& file : options.files) {
    for (const Problem& problem : problems_of(file)) {
      for (int threads : options.threads) {
        const std::string name = fmt::format("{} threads={}", problem.name(), threads);
        const auto act = [=, group = group_of(problem, file, threads), check = options.check,
                          what = options.show](benchmark::State& state) {
          if (!what.empty()) return show(state, *now, problem, name, what, threads);
          if (now->name != name) prepare(*now, problem, name, threads, check);
          measure(state, *now, threads, group);
        };
        benchmark::RegisterBenchmark(name.c_str(), act)
            ->Unit(benchmark::kMicrosecond)
            ->Iterations(1)
            ->UseManualTime();
      }
    }
  }
}

/// Says nothing of what ran.
class Silence : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& /*context*/) override { return true; }
  void ReportRuns(const std::vector<Run>& /*runs*/) override {}
};

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
    } else if (word.starts_with("--show=")) {
      options.show = word.substr(word.find('=') + 1);
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
  if (!options.show.empty()) {
    Silence silence;
    benchmark::RunSpecifiedBenchmarks(&silence);
    benchmark::Shutdown();
    return 0;
  }
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
