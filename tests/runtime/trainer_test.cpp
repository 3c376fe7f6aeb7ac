#include "runtime/trainer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "scratch_folder.h"
#include "toy_model.h"

namespace gradus::runtime {
namespace {

using testing::errors_of;
using testing::file_bytes;
using testing::Mishap;
using testing::ScratchFolder;
using testing::state_value;
using testing::toy_data;
using testing::ToyModel;

/// One training run of the toy model, with everything that it told.
struct ToyRun {
  ToyModel model;
  Dataset train = toy_data(50);
  Dataset validation = toy_data(7);
  TrainingOptions options;
  std::vector<TrainingEvent> events;
  std::vector<NumericFailure> failures;
  AlignedBytes failed_state;
  volatile std::sig_atomic_t interrupted = 0;
  std::int64_t interrupt_at = -1;  // step
  AlignedBytes state;
  TrainingEnded ended;

  explicit ToyRun(Mishap mishap = Mishap::none, std::int64_t at_step = -1)
      : model(mishap, at_step) {
    options.epochs = 6;
    options.batch = 8;  // 7 batches, the last of 2
    options.seed = 5;
    options.metrics = {{"rmse", MetricKind::root_of_mean}};
    options.model_hash = "toy";
    options.progress_seconds = 0;
  }

  void operator()() {
    Executor executor(1);
    const TrainingCallbacks callbacks{
        [&](const TrainingEvent& event) {
          events.push_back(event);
          const auto* progress = std::get_if<TrainingProgress>(&event);
          if (progress != nullptr && progress->step == interrupt_at) interrupted = 1;
        },
        [&](const NumericFailure& failure) {
          failures.push_back(failure);
          failed_state.assign(failure.state.begin(), failure.state.end());
          return std::string("layer 'line'");
        }};
    Trainer trainer(model.programs(), executor, train, validation, options, callbacks,
                    &interrupted);
    ended = trainer.run();
    state.assign(trainer.state().begin(), trainer.state().end());
  }

  template <typename Event>
  [[nodiscard]] std::vector<Event> all() const {
    std::vector<Event> found;
    for (const TrainingEvent& event : events) {
      if (const auto* match = std::get_if<Event>(&event)) found.push_back(*match);
    }
    return found;
  }
};

TEST(Trainer, LearnsAndReports) {
  ToyRun run;
  run.options.epochs = 60;
  run();
  const StateLayout& layout = run.model.programs().layout;
  EXPECT_NEAR(state_value(layout, run.state, "line/weight"), 2, 0.1);
  EXPECT_NEAR(state_value(layout, run.state, "line/bias"), 1, 0.1);
  EXPECT_FALSE(run.ended.interrupted);
  EXPECT_EQ(run.ended.epoch, 60);
  EXPECT_EQ(run.ended.step, 60 * 7);
  const auto started = run.all<TrainingStarted>();
  ASSERT_EQ(started.size(), 1u);
  EXPECT_EQ(started[0].examples, 50);
  EXPECT_EQ(started[0].validation_examples, 7);
  EXPECT_EQ(started[0].batches_per_epoch, 7);
  EXPECT_EQ(started[0].total_steps, 60 * 7);
  const auto epochs = run.all<EpochEnded>();
  ASSERT_EQ(epochs.size(), 60u);
  EXPECT_EQ(epochs[2].epoch, 3);
  EXPECT_EQ(epochs[2].step, 21);
  EXPECT_LT(epochs.back().train[0].value, epochs.front().train[0].value);
  EXPECT_EQ(run.all<TrainingProgress>().size(), 60u * 7);
  EXPECT_EQ(run.all<TrainingProgress>().back().seconds_left, 0);
  EXPECT_TRUE(std::holds_alternative<TrainingEnded>(run.events.back()));
  EXPECT_EQ(run.ended.train, epochs.back().train);
}

TEST(Trainer, MetricsAreWeightedByExamples) {
  ToyRun run;
  run.options.epochs = 1;
  run.options.shuffle = false;
  run();
  // Independently: the same steps, one executable call after the other.
  ToyModel model;
  Executor executor(1);
  AlignedBytes state = initial_state(model.programs(), executor, 5);
  BatchReader reader(run.train);
  double sum = 0;
  for (std::uint32_t first = 0; first < 50; first += 8) {
    std::vector<std::uint32_t> rows;
    for (std::uint32_t i = first; i < std::min(first + 8, 50u); ++i) rows.push_back(i);
    const Executable& step =
        model.programs().executable(Program::train_step, static_cast<std::int64_t>(rows.size()));
    executor.run(step, state, reader.read(step, rows));
    sum += static_cast<double>(executor.output(step, 0).as<float>()[0]) *
           static_cast<double>(rows.size());
  }
  EXPECT_EQ(state, run.state);
  const auto epoch = run.all<EpochEnded>()[0];
  EXPECT_EQ(epoch.train[0], (MetricValue{"loss", sum / 50}));
  EXPECT_EQ(epoch.train[1].name, "rmse");
  EXPECT_EQ(epoch.train[1].value, std::sqrt(sum / 50));
  double squares = 0;
  for (int i = 0; i < 7; ++i) {
    const double x = static_cast<double>(
        run.validation.arrays[0].tensor.as<float>()[static_cast<std::size_t>(i)]);
    const StateLayout& layout = model.programs().layout;
    const double error = state_value(layout, state, "line/weight") * x +
                         state_value(layout, state, "line/bias") - (2 * x + 1);
    squares += error * error;
  }
  EXPECT_NEAR(epoch.validation[0].value, squares / 7, 1e-6);
}

TEST(Trainer, StepsMayEndWithinAnEpoch) {
  ToyRun run;
  run.options.epochs = 0;
  run.options.steps = 10;
  run();
  EXPECT_EQ(run.ended.step, 10);
  EXPECT_EQ(run.ended.epoch, 1);
  EXPECT_FALSE(run.ended.interrupted);
  const auto epochs = run.all<EpochEnded>();
  ASSERT_EQ(epochs.size(), 2u);
  EXPECT_EQ(epochs[1].epoch, 2);
  EXPECT_EQ(epochs[1].step, 10);
}

TEST(Trainer, FullBatch) {
  ToyRun run;
  run.options.batch = 0;
  run();
  EXPECT_EQ(run.ended.step, 6);
  EXPECT_EQ(run.all<TrainingStarted>()[0].batches_per_epoch, 1);
}

TEST(Trainer, SeedAndShufflingMatter) {
  ToyRun first;
  first();
  ToyRun second;
  second();
  EXPECT_EQ(first.state, second.state);
  ToyRun other_seed;
  other_seed.options.seed = 6;
  other_seed();
  EXPECT_NE(first.state, other_seed.state);
  ToyRun in_order;
  in_order.options.shuffle = false;
  in_order();
  EXPECT_NE(first.state, in_order.state);
}

TEST(Trainer, ResumedEqualsUninterrupted) {
  const ScratchFolder folder;
  ToyRun whole;
  whole.options.checkpoint = folder.path("whole");
  whole.options.metrics_file = folder.path("whole.jsonl");
  whole();
  // 7, 14: at the end of an epoch, before its validation. 0: before the first step.
  for (const std::int64_t stop : {1, 3, 7, 8, 14, 20, 41, 42}) {
    SCOPED_TRACE(stop);
    ToyRun part;
    part.options.checkpoint = folder.path("part");
    part.options.metrics_file = folder.path("part.jsonl");
    part.interrupt_at = stop;
    part();
    EXPECT_TRUE(part.ended.interrupted);
    // The flag is raised by the report of step `stop`; the next step is still finished.
    EXPECT_LE(part.ended.step, stop + 1);
    ToyRun rest;
    rest.options = part.options;
    rest.options.resume = true;
    rest();
    EXPECT_FALSE(rest.ended.interrupted);
    EXPECT_EQ(rest.state, whole.state);
    EXPECT_EQ(rest.ended.train, whole.ended.train);
    EXPECT_EQ(rest.ended.validation, whole.ended.validation);
    EXPECT_EQ(file_bytes(folder.path("part")), file_bytes(folder.path("whole")));
    EXPECT_EQ(file_bytes(folder.path("part.jsonl")), file_bytes(folder.path("whole.jsonl")));
  }
}

TEST(Trainer, MoreEpochsContinueAFinishedRun) {
  const ScratchFolder folder;
  ToyRun whole;
  whole();
  ToyRun part;
  part.options.epochs = 0;
  part.options.steps = 10;
  part.options.checkpoint = folder.path("checkpoint");
  part();
  ToyRun rest;
  rest.options.checkpoint = folder.path("checkpoint");
  rest.options.resume = true;
  rest();
  EXPECT_EQ(rest.state, whole.state);
  EXPECT_EQ(rest.ended.train, whole.ended.train);
  ToyRun again;
  again.options = rest.options;
  again();
  EXPECT_FALSE(again.ended.interrupted);
  EXPECT_EQ(again.ended.step, 42);
  EXPECT_EQ(again.state, whole.state);
  EXPECT_TRUE(again.all<EpochEnded>().empty());
  EXPECT_EQ(again.ended.train, whole.ended.train);
  EXPECT_EQ(again.ended.validation, whole.ended.validation);
  ToyRun fewer;  // than were already done
  fewer.options = rest.options;
  fewer.options.epochs = 2;
  fewer();
  EXPECT_EQ(fewer.ended.step, 42);
}

TEST(Trainer, RefusesACheckpointOfAnotherRun) {
  const ScratchFolder folder;
  ToyRun part;
  part.options.checkpoint = folder.path("checkpoint");
  part();
  const auto expect_refused = [&](auto&& change, const std::string& text) {
    ToyRun other;
    other.options.checkpoint = folder.path("checkpoint");
    other.options.resume = true;
    change(other);
    testing::expect_error([&] { other(); }, "E1006", text, folder.path("checkpoint"));
  };
  expect_refused([](ToyRun& run) { run.options.seed = 6; }, "the seed was 5 and is 6");
  expect_refused([](ToyRun& run) { run.options.batch = 4; }, "the batch was 8 and is 4");
  expect_refused([](ToyRun& run) { run.options.shuffle = false; },
                 "shuffling was true and is false");
  expect_refused([](ToyRun& run) { run.options.model_hash = "x"; }, "hash was toy and is x");
  expect_refused([](ToyRun& run) { run.train = toy_data(49); }, "was 50 and is 49");
}

TEST(Trainer, StartsFromGivenWeights) {
  const ScratchFolder folder;
  ToyRun first;
  first();
  save_weights(folder.path("weights"), first.model.programs().layout, first.state, "toy");
  ToyRun second;
  second.options.initial_weights = folder.path("weights");
  second();
  EXPECT_LT(second.all<EpochEnded>()[0].train[0].value, first.all<EpochEnded>()[0].train[0].value);
}

TEST(Trainer, SavesNowAndThen) {
  const ScratchFolder folder;
  ToyRun run;
  run.options.checkpoint = folder.path("checkpoint");
  run.options.checkpoint_seconds = 0;
  run.options.epochs = 2;
  run();
  EXPECT_EQ(run.all<CheckpointSaved>().size(), 15u);  // every step and the end
}

TEST(Trainer, NamesTheStepThatFailsAndSavesNothingOfIt) {
  const ScratchFolder folder;
  for (const Mishap mishap : {Mishap::nan_loss, Mishap::infinite_weight, Mishap::fault}) {
    for (const bool with_checkpoint : {false, true}) {
      SCOPED_TRACE(static_cast<int>(mishap));
      std::filesystem::remove(folder.path("checkpoint"));
      ToyRun good;  // up to the step before
      good.options.epochs = 0;
      good.options.steps = 16;
      good();
      ToyRun run(mishap, 16);
      if (with_checkpoint) {
        run.options.checkpoint = folder.path("checkpoint");
        run.options.checkpoint_seconds = 0;
      }
      const auto found = errors_of([&] { run(); });
      EXPECT_EQ(found[0].code, mishap == Mishap::fault ? "E3002" : "E3001");
      EXPECT_EQ(found[0].message.find("step 17 (epoch 3): "), 0u) << found[0].message;
      EXPECT_NE(found[0].message.find("layer 'line'"), std::string::npos);
      ASSERT_EQ(run.failures.size(), 1u);
      EXPECT_EQ(run.failures[0].step, 17);
      EXPECT_EQ(run.failed_state, good.state);
      EXPECT_EQ(run.failures[0].inputs.size(), 2u);
      ASSERT_EQ(run.all<ReplayStarted>().size(), 1u);
      EXPECT_EQ(run.all<ReplayStarted>()[0].first_step, with_checkpoint ? 16 : 0);
      if (with_checkpoint) {
        AlignedBytes saved(good.state.size());
        EXPECT_EQ(
            load_checkpoint(folder.path("checkpoint"), run.model.programs().layout, saved).step,
            16);
        EXPECT_EQ(saved, good.state);
      }
    }
  }
}

TEST(Trainer, FindsAnInfinityThatTheLastStepLeft) {
  const ScratchFolder folder;
  ToyRun run(Mishap::infinite_weight, 41);  // no loss sees it
  run.validation.arrays.clear();
  run.options.checkpoint = folder.path("checkpoint");
  const auto found = errors_of([&] { run(); });
  EXPECT_EQ(found[0].message.find("step 42 (epoch 6): 'line/weight' is not finite"), 0u)
      << found[0].message;
  EXPECT_FALSE(std::filesystem::exists(folder.path("checkpoint")));
}

TEST(Trainer, MetricsLogHasALinePerEpoch) {
  const ScratchFolder folder;
  ToyRun run;
  run.options.metrics_file = folder.path("metrics.jsonl");
  run();
  std::istringstream lines(file_bytes(folder.path("metrics.jsonl")));
  const auto epochs = run.all<EpochEnded>();
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto value = nlohmann::json::parse(line);
    EXPECT_EQ(value["epoch"], count + 1);
    EXPECT_EQ(value["step"], 7 * (count + 1));
    EXPECT_EQ(value["loss"], epochs[count].train[0].value);
    EXPECT_EQ(value["validation"]["rmse"], epochs[count].validation[1].value);
  }
  EXPECT_EQ(count, 6u);
}

TEST(Trainer, NoExamplesIsAnError) {
  ToyRun run;
  run.train.arrays.clear();
  EXPECT_EQ(errors_of([&] { run(); })[0].code, "E1011");
}

TEST(Evaluate, CoversTheLastPartialBatchAndStopsWhenAsked) {
  ToyModel model;
  Executor executor(1);
  AlignedBytes state = initial_state(model.programs(), executor, 1);
  const Dataset data = toy_data(10);
  const auto whole = evaluate(model.programs(), executor, state, data, 0, {{"loss"}});
  const auto parts = evaluate(model.programs(), executor, state, data, 4, {{"loss"}});
  ASSERT_TRUE(whole && parts);
  EXPECT_NEAR((*whole)[0].value, (*parts)[0].value, 1e-6);
  const volatile std::sig_atomic_t flag = 1;
  EXPECT_FALSE(evaluate(model.programs(), executor, state, data, 4, {{"loss"}}, &flag));
  EXPECT_EQ(errors_of([&] {
              (void)evaluate(model.programs(), executor, state, {"none", {}}, 4, {{"loss"}});
            })[0]
                .code,
            "E1011");
}

TEST(Evaluate, PredictsEveryExampleInOrder) {
  ToyModel model;
  Executor executor(1);
  AlignedBytes state = initial_state(model.programs(), executor, 1);
  const float bias = 0.5f;
  std::memcpy(state.data() + model.programs().layout.find("line/bias")->offset, &bias, 4);
  const float weight = state_value(model.programs().layout, state, "line/weight");
  const Dataset data = toy_data(10);
  const auto predictions = predict(model.programs(), executor, state, data, 4);
  ASSERT_EQ(predictions.size(), 1u);
  EXPECT_EQ(predictions[0].name, "line");
  EXPECT_EQ(predictions[0].tensor.type.shape, (Shape{10, 1}));
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(predictions[0].tensor.as<float>()[i],
              weight * data.arrays[0].tensor.as<float>()[i] + bias);
  }
}

TEST(Evaluate, FaultsNameKernelAndLine) {
  Executable executable;
  executable.name = "train_step";
  executable.steps = {
      {.name = "gather", .provenance = "model.json:7:3", .function = nullptr, .buffers = {}}};
  EXPECT_EQ(describe_fault(executable, {(FaultWord{2} << 56) | (FaultWord{7} << 32) | 5, 0}),
            "index out of range at element 5 in gather (model.json:7:3)");
}

}  // namespace
}  // namespace gradus::runtime
