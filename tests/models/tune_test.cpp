// Measured choices: other schedules, the same bits, and remembered.

#include "codegen/tune.h"

#include <gtest/gtest.h>

#include <map>

#include "ir/expr.h"
#include "passes/differentiate.h"
#include "tests/models/executors.h"

namespace gradus {
namespace {

using ir::Expr;

class MemoryStore : public codegen::CodeStore {
 public:
  std::optional<std::string> load(const std::string& key) override {
    const auto entry = entries.find(key);
    if (entry == entries.end()) return std::nullopt;
    return entry->second;
  }
  void store(const std::string& key, const std::string& entry) override { entries[key] = entry; }

  std::map<std::string, std::string> entries;
};

/// Finds that the last schedule is the fastest.
std::vector<double> last_is_best(std::span<const std::vector<codegen::ScheduledKernel>> schedules,
                                 const codegen::Target& /*target*/) {
  std::vector<double> seconds(schedules.size(), 2.0);
  seconds.back() = 1;
  return seconds;
}

/// Two steps of training a small perceptron, as one graph.
struct Step {
  ir::Graph graph{"step"};
  Inputs inputs;

  Step() {
    const Expr x = input("x", ir::InputKind::batch, {70, 48});
    const Expr w = input("w", ir::InputKind::state, {48, 64});
    const Expr v = input("v", ir::InputKind::state, {64, 20});
    const Expr y = ir::matmul(ir::map("tanh", ir::matmul(x, w)), v);
    const std::vector<Expr> variables{w, v};
    const std::vector<Expr> gradients = passes::gradients(ir::sum_all(y * y), variables);
    graph.add_update("w", (w - gradients[0] * 0.01).value);
    graph.add_update("v", (v - gradients[1] * 0.01).value);
    graph.add_result("y", y.value);
  }

 private:
  Expr input(const std::string& name, ir::InputKind kind, Shape shape) {
    const TensorType type{ElementType::f32, std::move(shape)};
    inputs[name] = random_tensor(type, static_cast<std::uint32_t>(inputs.size()), -1, 1);
    return {&graph, graph.add_input(name, kind, type)};
  }
};

std::vector<codegen::ContractionChoice> choices(const Step& step,
                                                const codegen::CompileOptions& options) {
  std::vector<codegen::ContractionChoice> result;
  for (const auto& kernel : codegen::plan_program(step.graph, options).kernels) {
    if (!kernel.considered.empty()) {
      result.push_back(kernel.considered.at(kernel.chosen).choice);
    }
  }
  return result;
}

TEST(Tune, OtherSchedulesGiveTheSameBits) {
  const Step step;
  codegen::MeasuringTuner tuner(nullptr, last_is_best);
  codegen::CompileOptions options;
  const auto cheapest = choices(step, options);
  options.tuner = &tuner;
  EXPECT_NE(cheapest, choices(step, options));
  EXPECT_GT(tuner.measured(), 0);
  expect_same(ir::interpret(step.graph, step.inputs), run(step.graph, step.inputs, options, 2),
              "tuned");
}

TEST(Tune, ALaterRunRemembers) {
  const Step step;
  MemoryStore store;
  codegen::CompileOptions options;
  codegen::MeasuringTuner first(&store, last_is_best);
  options.tuner = &first;
  const auto measured = choices(step, options);
  EXPECT_EQ(first.measured(), static_cast<std::int64_t>(store.entries.size()));
  codegen::MeasuringTuner second(&store,
                                 [](auto schedules, const codegen::Target&) -> std::vector<double> {
                                   ADD_FAILURE() << "measured again";
                                   return std::vector<double>(schedules.size(), 1.0);
                                 });
  options.tuner = &second;
  EXPECT_EQ(measured, choices(step, options));
  EXPECT_EQ(second.measured(), 0);
  EXPECT_EQ(second.remembered(), first.measured());
}

TEST(Tune, DamagedEntriesAreMeasuredAgain) {
  const Step step;
  MemoryStore store;
  codegen::CompileOptions options;
  codegen::MeasuringTuner first(&store, last_is_best);
  options.tuner = &first;
  const auto measured = choices(step, options);
  for (auto& [key, entry] : store.entries) {
    ASSERT_TRUE(codegen::decode_choice(key, entry));
    EXPECT_FALSE(codegen::decode_entry(key, entry)) << "a choice is not code";
    entry.back() ^= 1;
    EXPECT_FALSE(codegen::decode_choice(key, entry));
  }
  codegen::MeasuringTuner second(&store, last_is_best);
  options.tuner = &second;
  EXPECT_EQ(measured, choices(step, options));
  EXPECT_EQ(second.measured(), first.measured());
  EXPECT_EQ(second.remembered(), 0);
}

TEST(Tune, EveryScheduleIsTimed) {
  const Step step;
  codegen::CompileOptions options;
  std::int64_t timed = 0;
  codegen::MeasuringTuner tuner(nullptr, [&](auto schedules, const codegen::Target& target) {
    const std::vector<double> seconds = codegen::measure_schedules(schedules, target, 1);
    EXPECT_EQ(seconds.size(), schedules.size());
    for (const double time : seconds) EXPECT_GT(time, 0);
    ++timed;
    return seconds;
  });
  options.tuner = &tuner;
  (void)choices(step, options);
  EXPECT_EQ(timed, tuner.measured());
}

}  // namespace
}  // namespace gradus
