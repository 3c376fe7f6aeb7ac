// Random training graphs: the interpreter, the kernel interpreter, fused kernels, unfused kernels
// and another instruction set give the same bits. GRADUS_FUZZ=5000 runs that many from the seed
// GRADUS_FUZZ_SEED on; a failure prints its seed, and GRADUS_FUZZ_SEED=39 alone
// runs that one in every executor and prints its graph, and its kernels where they are wrong.

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "codegen/text_kernel.h"
#include "ir/text.h"
#include "tests/models/executors.h"
#include "tests/models/random_tuner.h"
#include "tests/support/random_graph.h"
#include "tests/support/unroll.h"

namespace gradus {
namespace {

/// One graph with what the interpreter makes of it.
class Comparison {
 public:
  explicit Comparison(std::uint64_t seed)
      : seed_(seed),
        graph_(support::random_training_graph(seed)),
        inputs_(support::random_inputs(
            graph_, seed,
            seed % 5 == 0 ? support::InputValues::special : support::InputValues::ordinary)),
        expected_(ir::interpret(graph_, inputs_)) {}

  /// Every executor in turn; of those beside fused kernels a part of the seeds each, unless
  /// `every`.
  void check(bool every) const {
    EXPECT_EQ(expected_.fault.kind, ir::FaultKind::none);
    expect_same(expected_, run(graph_, inputs_, {}, 2), "fused");
    constexpr void (Comparison::* others[kOthers])()
        const = {&Comparison::kernels, &Comparison::choices,   &Comparison::unfused,
                 &Comparison::memory,  &Comparison::other_set, &Comparison::unrolled};
    for (std::size_t i = 0; i < kOthers; ++i) {
      if (every || seed_ % kOthers == i) (this->*others[i])();
    }
  }

  void print_graph() const { std::cout << to_text(graph_); }
  /// As they are planned, or by choices at random.
  void print_kernels(bool choices) const {
    RandomTuner tuner(seed_);
    codegen::CompileOptions options;
    if (choices) options.tuner = &tuner;
    for (const codegen::ScheduledKernel& kernel : codegen::plan_program(graph_, options).kernels) {
      std::cout << to_string(kernel.kernel) << '\n';
    }
  }

 private:
  static constexpr std::size_t kOthers = 6;

  void kernels() const {
    RandomTuner tuner(seed_);
    expect_same(expected_, interpret_kernels(graph_, inputs_, part_ == 0 ? nullptr : &tuner),
                "kernel interpreter");
  }
  void choices() const {
    RandomTuner tuner(seed_);
    codegen::CompileOptions options;
    options.tuner = &tuner;
    expect_same(expected_, run(graph_, inputs_, options, 2), "choices at random");
  }
  void unfused() const {
    codegen::CompileOptions options;
    options.fuse = false;
    expect_same(expected_, run(graph_, inputs_, options, 1), "unfused");
  }
  void memory() const {
    codegen::CompileOptions options;
    options.fuse = part_ != 0;
    expect_same(expected_, run(graph_, inputs_, options, 3, true), "least memory");
  }
  void other_set() const {
    codegen::CompileOptions options;
    options.set = part_ == 0 ? codegen::InstructionSet::x86_64 : codegen::InstructionSet::x86_64_v3;
    if (!codegen::host_supports(options.set)) return;
    expect_same(expected_, run(graph_, inputs_, options, 1), "other set");
  }
  void unrolled() const {
    expect_same(expected_, ir::interpret(support::unroll(graph_), inputs_), "unrolled");
  }

  std::uint64_t seed_;
  std::uint64_t part_ = seed_ / kOthers % 3;  // of the seeds of an executor
  ir::Graph graph_;
  Inputs inputs_;
  ir::Interpretation expected_;
};

TEST(RandomTraining, EveryExecutorGivesTheInterpretersBits) {
  const char* wanted = std::getenv("GRADUS_FUZZ");
  const char* from = std::getenv("GRADUS_FUZZ_SEED");
  const std::uint64_t first = from ? std::strtoull(from, nullptr, 10) : 1;
  const std::uint64_t usual = from ? 1 : 60;
  const std::uint64_t count = wanted ? std::strtoull(wanted, nullptr, 10) : usual;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    try {
      const Comparison comparison(seed);
      if (wanted == nullptr && from != nullptr) {
        comparison.print_graph();
        comparison.check(true);
        for (bool choices : {false, true}) {
          if (HasFailure()) comparison.print_kernels(choices);
        }
      } else {
        comparison.check(false);
      }
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

}  // namespace
}  // namespace gradus
