#include "tools/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/parallel.h"
#include "base/stopwatch.h"
#include "tools/memory_report.h"

namespace gradus::tools {
namespace {

runtime::StateKind kind_of(frontend::StateKind kind) {
  switch (kind) {
    case frontend::StateKind::parameter:
      return runtime::StateKind::parameter;
    case frontend::StateKind::statistic:
      return runtime::StateKind::statistic;
    case frontend::StateKind::slot:
      return runtime::StateKind::slot;
    case frontend::StateKind::carried:
      return runtime::StateKind::carried;
    case frontend::StateKind::counter:
      break;
  }
  return runtime::StateKind::counter;
}

/// Reads the file's options into the fields of a data source.
class Options {
 public:
  explicit Options(const frontend::DataSpec& data) : data_(data) {}

  template <typename Number>
  void number(const std::string& name, Number& target) const {
    const auto at = data_.numbers.find(name);
    if (at != data_.numbers.end()) target = static_cast<Number>(at->second);
  }
  [[nodiscard]] std::string text(const std::string& name) const {
    const auto at = data_.texts.find(name);
    return at == data_.texts.end() ? "" : at->second;
  }
  template <typename Source>
  void sizes(Source& source) const {
    number("examples", source.examples);
    number("test_examples", source.test_examples);
    number("seed", source.seed);
  }

 private:
  const frontend::DataSpec& data_;
};

runtime::DataSource source_of(const frontend::DataSpec& data) {
  const Options options(data);
  if (data.source == "linear") {
    runtime::LinearData linear;
    options.sizes(linear);
    options.number("slope", linear.slope);
    options.number("intercept", linear.intercept);
    options.number("noise", linear.noise);
    return linear;
  }
  if (data.source == "spirals") {
    runtime::SpiralsData spirals;
    options.sizes(spirals);
    options.number("classes", spirals.classes);
    options.number("turns", spirals.turns);
    options.number("noise", spirals.noise);
    return spirals;
  }
  if (data.source == "ring") {
    runtime::RingData ring;
    options.sizes(ring);
    options.number("modes", ring.modes);
    options.number("radius", ring.radius);
    options.number("deviation", ring.deviation);
    return ring;
  }
  if (data.source == "digits") {
    runtime::DigitsData digits;
    options.sizes(digits);
    return digits;
  }
  if (data.source == "shapes") {
    runtime::ShapesData shapes;
    options.sizes(shapes);
    return shapes;
  }
  if (data.source == "adding") {
    runtime::AddingData adding;
    options.sizes(adding);
    options.number("length", adding.length);
    return adding;
  }
  if (data.source == "sequences") {
    runtime::SequencesData sequences{options.text("task")};
    options.sizes(sequences);
    options.number("length", sequences.length);
    options.number("least_length", sequences.least_length);
    options.number("vocabulary", sequences.vocabulary);
    return sequences;
  }
  if (data.source == "brackets") {
    runtime::BracketsData brackets;
    options.sizes(brackets);
    options.number("pairs", brackets.pairs);
    options.number("least_pairs", brackets.least_pairs);
    options.number("kinds", brackets.kinds);
    return brackets;
  }
  if (data.source == "sines") {
    runtime::SinesData sines;
    options.sizes(sines);
    options.number("waves", sines.waves);
    options.number("length", sines.length);
    options.number("least_frequency", sines.least_frequency);
    options.number("greatest_frequency", sines.greatest_frequency);
    options.number("noise", sines.noise);
    return sines;
  }
  if (data.source == "idx") return runtime::IdxData{options.text("directory")};
  if (data.source == "cifar10") return runtime::Cifar10Data{options.text("directory")};
  if (data.source == "text") {
    runtime::TextData text{options.text("file")};
    options.number("length", text.length);
    options.number("stride", text.stride);
    options.number("test", text.test);
    text.tokens = options.text("tokens");
    return text;
  }
  return runtime::TensorsData{options.text("file"), options.text("test_file")};
}

}  // namespace

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad()) {
    throw UserError("E4001", "cannot read the file", {path, 0, 0, 1});
  }
  return text.str();
}

runtime::StateLayout layout_of(const frontend::Model& model) {
  runtime::StateLayout layout;
  for (const frontend::StateSpec& entry : model.state()) {
    layout.add(entry.name, entry.type, kind_of(entry.kind));
  }
  return layout;
}

namespace {

/// Loads what the model names; where it cannot be opened, says who named it.
runtime::DataSplits load_named(const frontend::DataSpec& data) {
  try {
    return runtime::load_data(source_of(data));
  } catch (const UserError& error) {
    std::vector<Diagnostic> diagnostics = error.diagnostics();
    for (Diagnostic& diagnostic : diagnostics) {
      if (diagnostic.code != "E4001" || data.where.line == 0) continue;
      const bool file = data.texts.contains("file");
      diagnostic.hint = fmt::format("\"data\" at {} wants it; --set data.{} names another",
                                    to_string(data.where), file ? "file=FILE" : "directory=FOLDER");
    }
    throw UserError(std::move(diagnostics));
  }
}

}  // namespace

runtime::DataSplits load_data_of(const frontend::Model& model) {
  runtime::DataSplits splits = load_named(model.data());
  std::vector<runtime::ModelInput> inputs;
  for (const frontend::ModelInput& input : model.inputs()) {
    inputs.push_back({input.name, input.example});
  }
  runtime::check_inputs(splits.train, inputs);
  if (!splits.test.arrays.empty()) runtime::check_inputs(splits.test, inputs);
  return splits;
}

std::vector<runtime::Metric> metrics_of(const frontend::Model& model) {
  std::vector<runtime::Metric> metrics;
  for (const frontend::MetricSpec& metric : model.metrics()) {
    metrics.push_back({metric.name, metric.aggregation == ir::Aggregation::mean
                                        ? runtime::MetricKind::mean
                                        : runtime::MetricKind::root_of_mean});
  }
  return metrics;
}

std::vector<std::string> losses_of(const frontend::Model& model) {
  std::vector<std::string> names;
  for (const frontend::LossSpec& loss : model.spec().losses) names.push_back(loss.name);
  return names;
}

std::vector<runtime::Metric> losses_and_metrics_of(const frontend::Model& model) {
  std::vector<runtime::Metric> all;
  for (const std::string& loss : losses_of(model)) {
    all.push_back({loss, runtime::MetricKind::mean});
  }
  for (runtime::Metric& metric : metrics_of(model)) all.push_back(std::move(metric));
  return all;
}

runtime::StateLayout layout_of(const frontend::Model& model,
                               const frontend::DecodeProgram& program) {
  runtime::StateLayout layout;
  for (const frontend::StateSpec& entry : model.state()) {
    using enum frontend::StateKind;
    if (entry.kind == slot || entry.kind == carried) continue;  // of training
    layout.add(entry.name, entry.type, kind_of(entry.kind));
  }
  for (const frontend::StateSpec& entry : program.carried) {
    layout.add(entry.name, entry.type, runtime::StateKind::carried);
  }
  return layout;
}

BuiltProgram build_program(const frontend::Model& model, runtime::Program program,
                           std::int64_t batch) {
  using enum runtime::Program;
  switch (program) {
    case init:
      return {model.init(), layout_of(model)};
    case train_step:
      return {model.train_step(batch), layout_of(model)};
    case evaluate:
      return {model.evaluate(batch), layout_of(model)};
    case predict:
      return {model.predict(batch), layout_of(model)};
    case decode:
    case encode:
      break;
  }
  frontend::DecodeProgram generation = model.decode(batch, {});
  runtime::StateLayout layout = layout_of(model, generation);
  if (program == decode) return {std::move(generation.graph), std::move(layout)};
  if (generation.encode) return {std::move(*generation.encode), std::move(layout)};
  throw UserError("E0214", "no program 'encode': the model reads one sequence only, no encoder's",
                  {model.spec().file});
}

ProgramCache::ProgramCache(const frontend::Model& model, codegen::CompileOptions options,
                           codegen::MemoryLimit limit)
    : model_(model), options_(options), limit_(limit), layout_(layout_of(model)) {}

const runtime::Executable& ProgramCache::get(runtime::Program program, std::int64_t batch) {
  const Key key{program, batch};
  prepare({key});
  return known_.at(key).program.executable;
}

void ProgramCache::prepare(const std::vector<Key>& keys) {
  std::vector<Key> missing;
  std::ranges::copy_if(keys, std::back_inserter(missing),
                       [&](const Key& key) { return !known_.contains(key); });
  if (missing.empty()) return;
  const Stopwatch watch;
  std::vector<Compiled> compiled(missing.size());
  // Nothing else runs while the tuner measures.
  const int threads = options_.tuner == nullptr ? options_.threads : 1;
  for_each_parallel(missing.size(), threads,
                    [&](std::size_t i) { compiled[i] = compile(missing[i]); });
  seconds_ += watch.seconds();
  for (std::size_t i = 0; i < missing.size(); ++i) {
    times_.push_back(std::move(compiled[i].time));
    known_.emplace(missing[i], std::move(compiled[i]));
  }
}

ProgramCache::Compiled ProgramCache::compile(const Key& key) const {
  const auto [program, batch] = key;
  const Stopwatch watch;
  const BuiltProgram built = build_program(model_, program, batch);
  std::vector<codegen::StageSeconds> stages{{"graph", watch.seconds()}};
  codegen::CompiledProgram compiled = codegen::compile_program(
      built.graph, built.layout, options_, limit_,
      [&] { return fitted_plan(built, model_, program, batch, options_, limit_).plan; });
  stages.insert(stages.end(), compiled.seconds.begin(), compiled.seconds.end());
  const CompileTime time{program,
                         batch,
                         watch.seconds(),
                         std::move(stages),
                         compiled.cached_modules,
                         compiled.compiled_modules};
  return {std::move(compiled), time};
}

runtime::Programs ProgramCache::programs() {
  return {layout_, model_.data().contiguous,
          [this](runtime::Program program, std::int64_t batch) -> const runtime::Executable& {
            return get(program, batch);
          }};
}

}  // namespace gradus::tools
