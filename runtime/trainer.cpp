#include "runtime/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/diagnostic.h"
#include "base/hash.h"

namespace gradus::runtime {
namespace {

constexpr const char* kGradientNorm = "gradient_norm";

std::vector<Metric> with_losses(const TrainingOptions& options) {
  std::vector<Metric> all;
  for (const std::string& loss : options.losses) all.push_back({loss, MetricKind::mean});
  all.insert(all.end(), options.metrics.begin(), options.metrics.end());
  return all;
}

template <typename Float>
bool all_finite(const std::byte* bytes, std::int64_t count) {
  const auto* values = reinterpret_cast<const Float*>(bytes);
  return std::all_of(values, values + count, [](Float value) { return std::isfinite(value); });
}

/// The first state entry with an element that is not finite, or null.
const StateEntry* first_non_finite(const StateLayout& layout, std::span<const std::byte> state) {
  for (const StateEntry& entry : layout.entries) {
    const std::byte* bytes = state.data() + entry.offset;
    const std::int64_t count = entry.type.element_count();
    const bool finite = entry.type.element == ElementType::f32   ? all_finite<float>(bytes, count)
                        : entry.type.element == ElementType::f64 ? all_finite<double>(bytes, count)
                                                                 : true;
    if (!finite) return &entry;
  }
  return nullptr;
}

std::string vocabulary_text(const Vocabulary& vocabulary) {
  if (vocabulary.characters.empty()) return vocabulary.tokens;
  const auto& characters = vocabulary.characters;
  return fmt::format("{} characters ({:016x})", characters.size(),
                     hash_bytes(characters.data(), 4 * characters.size()));
}

/// What differs between a checkpoint's run and this one; empty when it can be resumed.
std::string differences(const Progress& saved, const Progress& current) {
  std::string text;
  const auto compare = [&](const char* name, const auto& then, const auto& now) {
    if (then != now) {
      text += fmt::format("{}{} was {} and is {}", text.empty() ? "" : ", ", name, then, now);
    }
  };
  compare("the seed", saved.seed, current.seed);
  compare("the batch", saved.batch_size, current.batch_size);
  compare("the number of training examples", saved.examples, current.examples);
  compare("shuffling", saved.shuffle, current.shuffle);
  if (!saved.vocabulary.tokens.empty()) {
    compare("the vocabulary", vocabulary_text(saved.vocabulary),
            vocabulary_text(current.vocabulary));
  }
  compare("the model's hash", saved.model_hash, current.model_hash);
  return text;
}

std::vector<double> values_of(const std::vector<MetricValue>& metrics) {
  std::vector<double> values;
  for (const MetricValue& metric : metrics) values.push_back(metric.value);
  return values;
}

}  // namespace

Trainer::Trainer(const Programs& programs, Executor& executor, const Dataset& train,
                 const Dataset& validation, TrainingOptions options, TrainingCallbacks callbacks,
                 InterruptFlag interrupted)
    : programs_(programs),
      executor_(executor),
      train_(train),
      validation_(validation),
      options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      interrupted_(interrupted),
      plan_{train.examples(), options_.batch},
      reader_(train),
      sums_(with_losses(options_)) {
  GRADUS_CHECK((options_.epochs > 0) != (options_.steps > 0), "either epochs or steps");
  GRADUS_CHECK(!options_.resume || !options_.checkpoint.empty(), "nothing to resume from");
  if (plan_.examples == 0) throw UserError("E1011", "no examples to train on", {train.origin});
  progress_.seed = options_.seed;
  progress_.batch_size = options_.batch;
  progress_.examples = plan_.examples;
  progress_.shuffle = options_.shuffle;
  progress_.vocabulary = options_.vocabulary;
  progress_.model_hash = options_.model_hash;
  progress_.version = options_.version;
}

TrainingEnded Trainer::run() {
  start();
  while (!finished_ && !interrupted()) {
    train_epoch();
    if (!interrupted()) end_epoch();
  }
  check_state();
  ended_.interrupted = !finished_;
  ended_.epoch = progress_.epoch;
  ended_.step = progress_.step;
  if (!options_.checkpoint.empty()) save();
  ended_.seconds = seconds();
  emit(ended_);
  return ended_;
}

void Trainer::start() {
  began_ = saved_at_ = reported_at_ = Clock::now();
  if (options_.resume) {
    resume();
  } else {
    initialise();
  }
  first_step_ = progress_.step;
  finished_ = progress_.step >= total_steps() && progress_.batch == 0;
  log_.emplace(options_.metrics_file, progress_.epoch);
  emit(TrainingStarted{plan_.examples, validation_.examples(), plan_.batches(), first_step_,
                       total_steps()});
}

void Trainer::initialise() {
  state_ = initial_state(programs_, executor_, options_.seed);
  if (!options_.initial_weights.empty()) {
    load_weights(options_.initial_weights, programs_.layout, state_, options_.initial_of);
  }
}

void Trainer::resume() {
  state_ = allocate(programs_.layout.bytes, "the model's state");
  Progress saved = load_checkpoint(options_.checkpoint, programs_.layout, state_);
  const std::string different = differences(saved, progress_);
  if (!different.empty()) {
    throw UserError("E1006", "the checkpoint is of another training run: " + different,
                    {options_.checkpoint});
  }
  const bool possible =
      saved.step >= 0 && saved.epoch >= 0 && saved.batch >= 0 && saved.batch <= plan_.batches() &&
      saved.sums.size() == sums_.sums().size() &&
      saved.examples_in_sums.size() == saved.sums.size() &&
      saved.train.size() <= saved.sums.size() && saved.validation.size() <= saved.sums.size() &&
      saved.step == saved.epoch * plan_.batches() + saved.batch;
  if (!possible) throw UserError("E1006", "damaged manifest", {options_.checkpoint});
  sums_.restore(saved.sums, saved.examples_in_sums);
  saved.version = options_.version;
  progress_ = std::move(saved);
  saved_step_ = progress_.step;
  ended_.train = named(progress_.train);
  ended_.validation = named(progress_.validation);
}

/// Values of the losses and the metrics, as a checkpoint keeps them.
std::vector<MetricValue> Trainer::named(const std::vector<double>& values) const {
  std::vector<MetricValue> result;
  for (const Metric& metric : with_losses(options_)) {
    if (result.size() < values.size()) result.push_back({metric.name, values[result.size()]});
  }
  return result;
}

std::int64_t Trainer::total_steps() const {
  return options_.steps > 0 ? options_.steps : options_.epochs * plan_.batches();
}

double Trainer::seconds() const {
  return std::chrono::duration<double>(Clock::now() - began_).count();
}

void Trainer::train_epoch() {
  while (progress_.batch < plan_.batches() && progress_.step < total_steps()) {
    step();
    if (interrupted()) return;
    report_progress();
  }
}

void Trainer::end_epoch() {
  EpochEnded event{progress_.epoch + 1, progress_.step, sums_.values(), {}, 0};
  if (validation_.examples() > 0) {
    const auto values =
        evaluate(programs_, executor_, state_, validation_, options_.batch / options_.parts,
                 with_losses(options_), interrupted_);
    if (!values) return;  // the epoch ends when training is resumed
    event.validation = *values;
  }
  event.seconds = seconds();
  log_->write(event.epoch, event.step, event.train, event.validation);
  ended_.train = event.train;
  ended_.validation = event.validation;
  progress_.train = values_of(event.train);
  progress_.validation = values_of(event.validation);
  emit(std::move(event));
  finished_ = progress_.step >= total_steps();
  if (progress_.batch < plan_.batches()) return;  // steps end within the epoch
  ++progress_.epoch;
  progress_.batch = 0;
  sums_.clear();
}

void Trainer::step() {
  const Executable& executable = run_step(progress_.step);
  if (const std::string what = failure_of(executable); !what.empty()) {
    replay(what);
  }
  sums_.add(executor_, executable, plan_.size(progress_.batch));
  ++progress_.batch;
  ++progress_.step;
  const std::chrono::duration<double> since_saved = Clock::now() - saved_at_;
  const bool due = since_saved.count() >= options_.checkpoint_seconds;
  if (!options_.checkpoint.empty() && due) save();
}

/// Runs training step number `step` (from 0) on the state.
const Executable& Trainer::run_step(std::int64_t step) {
  const std::int64_t epoch = step / plan_.batches();
  const std::int64_t batch = step % plan_.batches();
  if (order_epoch_ != epoch) {
    order_ = programs_.contiguous
                 ? contiguous_order(plan_.examples, plan_.batch)
                 : epoch_order(plan_.examples, options_.shuffle, options_.seed, epoch);
    order_epoch_ = epoch;
  }
  if (batch == 0) begin_pass(programs_.layout, state_);
  const Executable& executable = programs_.executable(Program::train_step, plan_.size(batch));
  const auto rows = std::span<const std::uint32_t>(order_).subspan(
      static_cast<std::size_t>(plan_.first(batch)), static_cast<std::size_t>(plan_.size(batch)));
  inputs_ = reader_.read(executable, rows);
  result_ = executor_.run(executable, state_, inputs_);
  return executable;
}

/// Says what is wrong with the last step; empty when nothing is.
std::string Trainer::failure_of(const Executable& executable) const {
  if (result_.fault != 0) return describe_fault(executable, result_);
  std::vector<std::string> names = options_.losses;
  names.emplace_back(kGradientNorm);
  for (const std::string& name : names) {
    if (!has_output(executable, name)) continue;
    const double value = scalar_output(executor_, executable, name);
    if (std::isnan(value)) return name + " is nan";  // whatever its sign
    if (!std::isfinite(value)) return fmt::format("{} is {}", name, value);
  }
  return {};
}

void Trainer::report_progress() {
  const Clock::time_point now = Clock::now();
  const std::chrono::duration<double> since = now - reported_at_;
  if (since.count() < options_.progress_seconds) return;
  reported_at_ = now;
  const double per_step = seconds() / static_cast<double>(progress_.step - first_step_);
  const double examples_per_step =
      static_cast<double>(plan_.examples) / static_cast<double>(plan_.batches());
  emit(TrainingProgress{progress_.epoch + 1, progress_.step, total_steps(), sums_.values(),
                        examples_per_step / per_step,
                        per_step * static_cast<double>(total_steps() - progress_.step)});
}

/// Finds a number that stopped being finite without having reached a loss yet.
void Trainer::check_state() {
  if (const StateEntry* entry = first_non_finite(programs_.layout, state_)) {
    replay("'" + entry->name + "' is not finite");
  }
}

void Trainer::save() {
  check_state();
  progress_.sums = sums_.sums();
  progress_.examples_in_sums = sums_.examples();
  save_checkpoint(options_.checkpoint, programs_.layout, state_, progress_);
  saved_step_ = progress_.step;
  saved_at_ = Clock::now();
  emit(CheckpointSaved{options_.checkpoint, saved_step_});
}

/// Runs again from the last valid state to the first step that fails or that leaves a number in
/// the state that is not finite, has it located, and throws. The step detected, or one before it
/// whose bad number went unnoticed, is that step.
void Trainer::replay(const std::string& what) {
  const std::int64_t last = progress_.step;
  std::int64_t step = 0;
  if (saved_step_ >= 0) {
    step = load_checkpoint(options_.checkpoint, programs_.layout, state_).step;
  } else {
    initialise();
  }
  emit(ReplayStarted{step, last});
  for (AlignedBytes before; step <= last; ++step) {
    before = state_;
    const Executable& executable = run_step(step);
    std::string failure = failure_of(executable);
    const StateEntry* entry = first_non_finite(programs_.layout, state_);
    if (failure.empty() && entry != nullptr) failure = "'" + entry->name + "' is not finite";
    if (failure.empty()) continue;
    state_ = std::move(before);
    const NumericFailure found{.step = step + 1,
                               .epoch = step / plan_.batches() + 1,
                               .batch = plan_.size(step % plan_.batches()),
                               .what = failure,
                               .fault = result_.fault,
                               .executable = &executable,
                               .state = state_,
                               .inputs = inputs_};
    const std::string located = callbacks_.locate ? callbacks_.locate(found) : "";
    throw UserError(result_.fault != 0 ? "E3002" : "E3001",
                    fmt::format("step {} (epoch {}): {}{}{}", found.step, found.epoch, failure,
                                located.empty() ? "" : "; ", located));
  }
  throw InternalError(fmt::format("step {} failed ({}), but not when run again", last + 1, what));
}

void Trainer::emit(TrainingEvent event) const {
  if (callbacks_.event) callbacks_.event(event);
}

}  // namespace gradus::runtime
