#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/overloaded.h"
#include "runtime/checkpoint.h"
#include "runtime/evaluate.h"
#include "runtime/executor.h"
#include "runtime/file.h"
#include "runtime/trainer.h"
#include "tools/commands.h"
#include "tools/initial_weights.h"
#include "tools/locate_failure.h"
#include "tools/memory_report.h"

namespace gradus::tools {
namespace {

using Ordered = nlohmann::ordered_json;

volatile std::sig_atomic_t interrupted = 0;  // set by the signal handler

struct TrainOptions {
  ModelOptions model;
  std::string output = "run";
  std::string initial_weights;
  std::vector<std::string> initial_of;
  bool resume = false;
  std::optional<std::uint64_t> seed;
};

std::string values_text(const std::vector<runtime::MetricValue>& values) {
  std::string text;
  for (const runtime::MetricValue& value : values) {
    text += fmt::format("  {} {:.4f}", value.name, value.value);
  }
  return text;
}

Ordered values_json(const std::vector<runtime::MetricValue>& values, bool with_loss) {
  Ordered json = Ordered::object();
  for (const runtime::MetricValue& value : values) {
    if (with_loss || value.name != "loss") json[value.name] = value.value;
  }
  return json;
}

/// Prints events: lines for people on stderr, or JSON lines on stdout.
class Reporter {
 public:
  explicit Reporter(bool json) : json_(json), terminal_(isatty(STDERR_FILENO) != 0) {}

  void operator()(const runtime::TrainingEvent& event) {
    std::visit(overloaded{[&](const runtime::TrainingStarted& e) { started(e); },
                          [&](const runtime::TrainingProgress& e) { progress(e); },
                          [&](const runtime::EpochEnded& e) { epoch(e); },
                          [&](const runtime::CheckpointSaved&) {},
                          [&](const runtime::ReplayStarted& e) {
                            line(fmt::format("looking for the step that failed, from {} to {}",
                                             e.first_step, e.last_step));
                          },
                          [&](const runtime::TrainingEnded&) {}},
               event);
  }

  /// The plan's memory, and what the process has beside it.
  void memory(const codegen::MemoryUse& use, std::int64_t process) const {
    Ordered json{{"event", "memory"}};
    json.update(memory_json(use));
    json["process"] = process;
    object(json);
    line(fmt::format("{}\nbeside it the process has {}: code, LLVM and the data set",
                     memory_line(use), size_text(process)));
  }

 private:
  void line(const std::string& text) const {
    if (!json_) std::cerr << (terminal_ ? "\r\033[K" : "") << text << '\n';
  }
  void object(const Ordered& json) const {
    if (json_) print_json(json);
  }
  void started(const runtime::TrainingStarted& e) {
    steps_ = e.total_steps;
    object({{"event", "start"},
            {"examples", e.examples},
            {"steps", e.total_steps},
            {"first_step", e.first_step}});
    std::string resumed;
    if (e.first_step > 0) resumed = fmt::format(", resuming after step {}", e.first_step);
    if (e.first_step >= e.total_steps) resumed += ": nothing is left to train";
    line(fmt::format("{} examples, {} steps{}", e.examples, e.total_steps, resumed));
  }
  void progress(const runtime::TrainingProgress& e) const {
    if (json_ || !terminal_) return;
    std::cerr << fmt::format("\r\033[Kstep {}/{}{}  {:.0f} examples/s  {:.0f} s left", e.step,
                             e.total_steps, values_text(e.metrics), e.examples_per_second,
                             e.seconds_left)
              << std::flush;
  }
  void epoch(const runtime::EpochEnded& e) {
    object({{"event", "epoch"},
            {"epoch", e.epoch},
            {"step", e.step},
            {"train", values_json(e.train, true)},
            {"validation", values_json(e.validation, true)},
            {"seconds", e.seconds}});
    // Of a long run only some, but never silence.
    constexpr std::int64_t kShownEpochs = 20;
    constexpr double kSilence = 5;  // seconds
    const bool shown = e.epoch <= kShownEpochs || e.epoch % 50 == 0 || e.step == steps_ ||
                       e.seconds - shown_seconds_ >= kSilence;
    if (!shown) return;
    shown_seconds_ = e.seconds;
    const std::string validation =
        e.validation.empty() ? "" : "  | validation" + values_text(e.validation);
    line(fmt::format("epoch {:>3}{}{}  {:.2f} s", e.epoch, values_text(e.train), validation,
                     e.seconds));
  }

  bool json_;
  bool terminal_;
  std::int64_t steps_ = 0;    // of the whole run
  double shown_seconds_ = 0;  // of the last epoch that was shown
};

/// Models so small that their parameters can be read are printed.
void print_parameters(const runtime::StateLayout& layout, std::span<const std::byte> state) {
  constexpr std::int64_t kReadable = 8;
  std::int64_t count = 0;
  for (const runtime::StateEntry& entry : layout.entries) {
    if (entry.kind == runtime::StateKind::parameter) count += entry.type.element_count();
  }
  if (count > kReadable) return;
  for (const runtime::StateEntry& entry : layout.entries) {
    if (entry.kind != runtime::StateKind::parameter) continue;
    std::string text = entry.name + " =";
    for (std::int64_t i = 0; i < entry.type.element_count(); ++i) {
      float value = 0;
      std::memcpy(&value, state.data() + entry.offset + 4 * i, sizeof value);
      text += fmt::format(" {:.4f}", value);
    }
    std::cout << text << '\n';
  }
}

/// Whether an option of the data says where they are, not what.
bool is_path(const frontend::DataSpec& data, const std::string& name) {
  const auto sources = frontend::data_sources();
  const auto source = std::ranges::find(sources, data.source, &frontend::Alternative::name);
  const auto option = std::ranges::find(source->options, name, &frontend::Option::name);
  return option != source->options.end() && option->is_path;
}

/// Of everything that resuming must find unchanged.
std::string model_hash(const frontend::Model& model) {
  std::uint64_t hash = model.train_step(2).hash();
  hash = hash_combine(hash, hash_bytes(model.data().source.data(), model.data().source.size()));
  if (model.data().contiguous) hash = hash_combine(hash, 1);
  for (const auto& [name, value] : model.data().numbers) {
    hash = hash_combine(hash, hash_bytes(name.data(), name.size()));
    hash = hash_combine(hash, std::bit_cast<std::uint64_t>(value));
  }
  for (const auto& [name, text] : model.data().texts) {
    if (is_path(model.data(), name)) continue;
    hash = hash_combine(hash, hash_bytes(text.data(), text.size()));
  }
  return fmt::format("{:016x}", hash);
}

runtime::TrainingOptions training_options(const TrainOptions& options, const frontend::Model& model,
                                          const runtime::DataSplits& data) {
  runtime::TrainingOptions training;
  training.epochs = model.training().epochs;
  training.steps = model.training().steps;
  training.batch = model.step_batch();
  training.parts = model.spec().parts();
  training.seed = model.training().seed;
  training.shuffle = model.data().shuffle;
  training.vocabulary = data.vocabulary;
  training.losses = losses_of(model);
  training.metrics = metrics_of(model);
  training.initial_weights = options.initial_weights;
  training.initial_of = options.initial_of;
  training.checkpoint = options.output + "/checkpoint.safetensors";
  training.resume = options.resume;
  training.metrics_file = options.output + "/metrics.jsonl";
  training.model_hash = model_hash(model);
  training.version = "0.1.0";
  return training;
}

void make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw UserError("E4003", fmt::format("cannot make {}: {}", path, error.message()));
}

void report_end(const TrainOptions& options, const runtime::TrainingEnded& ended,
                const std::vector<runtime::MetricValue>& test, const ProgramCache& cache,
                const std::string& weights, const Ordered& tuned) {
  if (!options.model.json) {
    if (!test.empty()) std::cout << "test" << values_text(test) << '\n';
    std::cerr << fmt::format("compiled {} programs in {:.0f} ms; weights in {}\n",
                             cache.times().size(), 1e3 * cache.compile_seconds(), weights);
    return;
  }
  Ordered programs = Ordered::array();
  for (const CompileTime& time : cache.times()) {
    Ordered stages = Ordered::object();
    for (const codegen::StageSeconds& stage : time.stages) stages[stage.stage] = stage.seconds;
    programs.push_back({{"program", to_string(time.program)},
                        {"batch", time.batch},
                        {"seconds", time.seconds},
                        {"stages", stages},
                        {"cached_modules", time.cached_modules},
                        {"compiled_modules", time.compiled_modules}});
  }
  Ordered end{{"event", "end"},
              {"steps", ended.step},
              {"loss", ended.train.empty() ? Ordered() : Ordered(ended.train[0].value)},
              {"metrics", values_json(ended.train, false)},
              {"test", values_json(test, true)},
              {"compile_seconds", cache.compile_seconds()},
              {"compiled", programs},
              {"seconds", ended.seconds},
              {"interrupted", ended.interrupted},
              {"weights", weights}};
  if (!tuned.is_null()) end["tuned"] = tuned;
  print_json(end);
}

int train(const TrainOptions& options) {
  ModelOptions model_options = options.model;
  if (options.seed) {
    model_options.overrides.push_back(fmt::format("training.seed={}", *options.seed));
  }
  const frontend::Model model = model_options.model();
  ProgramCache cache(model, model_options.compile_options(), model_options.memory_limit());
  const runtime::Programs programs = cache.programs();
  runtime::Executor executor(model_options.workers());
  runtime::DataSplits data = load_data_of(model);
  runtime::Dataset validation;
  if (model.data().validation > 0) {
    std::tie(data.train, validation) =
        runtime::split_validation(std::move(data.train), model.data().validation);
  }
  if (!options.initial_weights.empty()) {
    check_initial_weights(model, options.initial_weights, options.initial_of, data.vocabulary);
  }
  make_directory(options.output);
  runtime::OutputFile resolved(options.output + "/model.json");
  resolved.write(model.resolved());
  resolved.commit();
  std::signal(SIGINT, [](int) { interrupted = 1; });
  const runtime::TrainingOptions training = training_options(options, model, data);
  const auto locate = [&](const runtime::NumericFailure& failure) {
    return locate_failure(model, model_options.compile_options(), failure);
  };
  const Reporter reporter(options.model.json);
  runtime::Trainer trainer(programs, executor, data.train, validation, training, {reporter, locate},
                           &interrupted);
  const std::int64_t batch = runtime::BatchPlan{data.train.examples(), training.batch}.size(0);
  // Before the memory is told, so that the compiler's own is seen.
  cache.prepare({{runtime::Program::train_step, batch}, {runtime::Program::init, 0}});
  reporter.memory(cache.memory(runtime::Program::train_step, batch), resident_bytes());
  const runtime::TrainingEnded ended = trainer.run();
  const std::string weights = options.output + "/weights.safetensors";
  runtime::save_weights(weights, programs.layout, trainer.state(), training.model_hash,
                        data.vocabulary);
  std::vector<runtime::MetricValue> test;
  if (!ended.interrupted && data.test.examples() > 0) {
    test = runtime::evaluate(programs, executor, trainer.state(), data.test, model.training().batch,
                             losses_and_metrics_of(model), &interrupted)
               .value_or(test);
  }
  report_end(options, ended, test, cache, weights, model_options.tuned());
  if (!options.model.json) print_parameters(programs.layout, trainer.state());
  return ended.interrupted ? 128 + SIGINT : 0;
}

}  // namespace

void add_train(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("train", "Compile a model and train it");
  command->footer("Example: gradus train models/digits_mlp.json --set training.epochs=3 -o run");
  auto options = std::make_shared<TrainOptions>();
  options->model.add_to(*command);
  options->model.add_tune_to(*command);
  command->add_option("-o,--output", options->output, "Directory for weights and metrics");
  command->add_option("--init", options->initial_weights, "Weights to start from (safetensors)");
  command
      ->add_option("--init-of", options->initial_of,
                   "Names of modules, blocks or layers: only these start from --init")
      ->delimiter(',')
      ->needs("--init");
  command->add_flag("--resume", options->resume, "Go on from the checkpoint in the directory");
  command->add_option("--seed", options->seed, "Overrides training.seed")->envname("GRADUS_SEED");
  command->callback([options, &status] { status = train(*options); });
}

}  // namespace gradus::tools
