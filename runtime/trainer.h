#pragma once

// The training loop: data, step, metrics, checkpoints. It prints nothing; it reports events.
//
// A run is a function of model, data, seed and options: interrupted and resumed it gives the same
// bits. After a failure the state is never saved; since everything is deterministic, the failing
// step is found by running again from the last checkpoint (or from the start).

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "runtime/checkpoint.h"
#include "runtime/data/batches.h"
#include "runtime/evaluate.h"
#include "runtime/metrics_log.h"

namespace gradus::runtime {

struct TrainingOptions {
  std::int64_t epochs = 0;  // exactly one of epochs and steps is positive
  std::int64_t steps = 0;   // in all, counted from the start of training
  std::int64_t batch = 0;   // examples per step; 0: all
  std::int64_t parts = 1;   // of a step's examples; validation takes batches of one
  std::uint64_t seed = 0;
  bool shuffle = true;
  Vocabulary vocabulary;                    // of the data, noted with the weights
  std::vector<std::string> losses{"loss"};  // which always come first
  std::vector<Metric> metrics;              // the others
  std::string initial_weights;              // weights file to start from; empty: initialised
  std::vector<std::string> initial_of;      // names below which it is read; empty: all
  std::string checkpoint;                   // file to save to and to resume from; empty: none
  double checkpoint_seconds = 60;           // least time between two savings before the end
  bool resume = false;                      // go on from `checkpoint`
  std::string metrics_file;                 // one JSON line per epoch; empty: none
  double progress_seconds = 0.1;            // least time between two progress events
  std::string model_hash;                   // of all that resuming must find unchanged
  std::string version;                      // of the program, noted in the checkpoint
};

struct TrainingStarted {
  std::int64_t examples = 0;
  std::int64_t validation_examples = 0;
  std::int64_t batches_per_epoch = 0;
  std::int64_t first_step = 0;  // steps done before, when resuming
  std::int64_t total_steps = 0;
};
struct TrainingProgress {
  std::int64_t epoch = 0;  // the current one, from 1
  std::int64_t step = 0;   // steps done
  std::int64_t total_steps = 0;
  std::vector<MetricValue> metrics;  // of this epoch so far, the losses first
  double examples_per_second = 0;
  double seconds_left = 0;
};
struct EpochEnded {
  std::int64_t epoch = 0;  // from 1
  std::int64_t step = 0;
  std::vector<MetricValue> train;       // the losses first
  std::vector<MetricValue> validation;  // empty without validation data
  double seconds = 0;                   // since the run began
};
struct CheckpointSaved {
  std::string path;
  std::int64_t step = 0;
};
/// Looking for the step that failed, between these steps.
struct ReplayStarted {
  std::int64_t first_step = 0;
  std::int64_t last_step = 0;
};
struct TrainingEnded {
  bool interrupted = false;
  std::int64_t epoch = 0;  // epochs completed
  std::int64_t step = 0;
  std::vector<MetricValue> train;       // of the last epoch that ended, maybe in an earlier run
  std::vector<MetricValue> validation;  // likewise
  double seconds = 0;
};
using TrainingEvent = std::variant<TrainingStarted, TrainingProgress, EpochEnded, CheckpointSaved,
                                   ReplayStarted, TrainingEnded>;

/// The first step that failed, ready to be run again by slower means: state and batch are as they
/// were before it.
struct NumericFailure {
  std::int64_t step = 0;   // from 1
  std::int64_t epoch = 0;  // from 1
  std::int64_t batch = 0;  // examples in it
  std::string what;        // "the loss is nan"
  FaultWord fault = 0;     // that the step raised
  const Executable* executable = nullptr;
  std::span<const std::byte> state;
  std::span<const std::span<const std::byte>> inputs;
};

struct TrainingCallbacks {
  std::function<void(const TrainingEvent&)> event;
  /// Names the layer at fault, for the message; may be absent.
  std::function<std::string(const NumericFailure&)> locate;
};

/// One training run. Programs, executor and data sets outlive it.
class Trainer {
 public:
  /// `validation` may be empty. Both data sets have passed check_inputs.
  Trainer(const Programs& programs, Executor& executor, const Dataset& train,
          const Dataset& validation, TrainingOptions options, TrainingCallbacks callbacks,
          InterruptFlag interrupted = nullptr);

  /// Trains to the end, or until interrupted after a whole step; in both cases saves a checkpoint.
  /// Throws UserError E3001 when a number stops being finite, E3002 when a step faults, E1006 when
  /// the checkpoint to resume is of another run, and as checkpoint.h and evaluate.h do.
  TrainingEnded run();

  /// The state after `run`.
  [[nodiscard]] std::span<std::byte> state() { return state_; }

 private:
  using Clock = std::chrono::steady_clock;

  void start();
  void initialise();
  void resume();
  [[nodiscard]] std::vector<MetricValue> named(const std::vector<double>& values) const;
  [[nodiscard]] std::int64_t total_steps() const;
  [[nodiscard]] bool interrupted() const { return interrupted_ != nullptr && *interrupted_ != 0; }
  [[nodiscard]] double seconds() const;
  void train_epoch();
  void end_epoch();
  void step();
  [[nodiscard]] const Executable& run_step(std::int64_t step);
  [[nodiscard]] std::string failure_of(const Executable& executable) const;
  void report_progress();
  void check_state();
  void save();
  [[noreturn]] void replay(const std::string& what);
  void emit(TrainingEvent event) const;

  const Programs& programs_;
  Executor& executor_;
  const Dataset& train_;
  const Dataset& validation_;
  TrainingOptions options_;
  TrainingCallbacks callbacks_;
  InterruptFlag interrupted_;
  BatchPlan plan_;
  BatchReader reader_;
  MetricSums sums_;
  std::optional<MetricsLog> log_;
  AlignedBytes state_;
  Progress progress_;
  std::int64_t saved_step_ = -1;  // of the checkpoint on disk, -1: none of this run
  std::int64_t order_epoch_ = -1;
  std::vector<std::uint32_t> order_;                    // of order_epoch_
  std::span<const std::span<const std::byte>> inputs_;  // of the last step
  RunResult result_;                                    // of the last step
  TrainingEnded ended_;
  std::int64_t first_step_ = 0;
  bool finished_ = false;
  Clock::time_point began_;
  Clock::time_point saved_at_;
  Clock::time_point reported_at_;
};

}  // namespace gradus::runtime
