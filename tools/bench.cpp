#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/stopwatch.h"
#include "ir/text.h"
#include "runtime/checkpoint.h"
#include "runtime/evaluate.h"
#include "runtime/executor.h"
#include "tools/commands.h"
#include "tools/kernel_report.h"
#include "tools/machine_peak.h"
#include "tools/memory_report.h"
#include "tools/subject.h"

namespace gradus::tools {
namespace {

struct BenchOptions {
  ModelOptions model;
  std::string initial_weights;
  bool fused_only = false;
  std::vector<std::string> without;  // stages, each left out of a variant of its own
  double seconds = 1;                // per variant
};

Subject graph_of_file(const BenchOptions& options) {
  if (!options.model.overrides.empty()) {
    throw UserError("E2003", "--set changes a model file; a graph has no settings");
  }
  if (!options.initial_weights.empty()) {
    throw UserError("E2003", "--init is for a model file; the state of a graph is random");
  }
  return random_subject(ir::parse_graph(read_text(options.model.file), options.model.file));
}

Subject subject_of_model(const BenchOptions& options, runtime::Executor& executor) {
  const frontend::Model model = options.model.model();
  const runtime::DataSplits data = load_data_of(model);
  const runtime::BatchPlan plan{data.train.examples(), model.step_batch()};
  Subject subject{
      graph_of(model, runtime::Program::train_step, plan.size(0)), layout_of(model), {}, {}, {}};
  ProgramCache cache(model, options.model.compile_options());
  subject.state = runtime::initial_state(cache.programs(), executor, model.training().seed);
  if (!options.initial_weights.empty()) {
    runtime::load_weights(options.initial_weights, subject.layout, subject.state);
  }
  const std::vector<std::uint32_t> order = runtime::epoch_order(data.train.examples(), false, 0, 0);
  runtime::BatchReader reader(data.train);
  const auto batch = static_cast<std::size_t>(plan.size(0));
  const auto inputs = reader.read(cache.get(runtime::Program::train_step, plan.size(0)),
                                  std::span(order).first(batch));
  std::size_t number = 0;
  for (ir::NodeId id : subject.graph.inputs()) {
    const ir::Node& node = subject.graph.node(id);
    if (node.attributes.get<std::string>("kind") == to_string(ir::InputKind::state)) continue;
    Tensor& input = subject.inputs.emplace_back(node.types[0]);
    std::memcpy(input.bytes.data(), inputs[number].data(), inputs[number].size());
    ++number;
  }
  subject.what = fmt::format("a training step of {} with {} examples", model.name(), batch);
  return subject;
}

/// One way of compiling the step, with what running it took.
struct Variant {
  std::string name;
  runtime::Executable step;
  runtime::AlignedBytes state;
  double compile_seconds = 0;
  std::vector<double> seconds;                      // of each run
  std::vector<std::vector<double>> kernel_seconds;  // by kernel, of each run

  Variant(std::string label, const Subject& subject, const codegen::CompileOptions& options,
          const codegen::MemoryLimit& limit)
      : name(std::move(label)) {
    const Stopwatch watch;
    auto [plan, use, fits] = codegen::plan_within(subject.graph, subject.layout, options, limit);
    if (!fits) {
      throw UserError("E5002", fmt::format("{}, {}, needs {}; allowed are {}", subject.what, name,
                                           size_text(use.total()), size_text(limit.bytes)));
    }
    step = codegen::compile(plan, subject.layout, options);
    compile_seconds = watch.seconds();
    state = subject.state;
    kernel_seconds.resize(step.steps.size());
  }

  void run(runtime::Executor& executor, std::span<const std::span<const std::byte>> inputs) {
    std::vector<double> kernels(step.steps.size());
    const Stopwatch watch;
    const runtime::RunResult result = executor.run(step, state, inputs, kernels);
    const double took = watch.seconds();
    if (result.fault != 0) throw UserError("E3002", runtime::describe_fault(step, result));
    seconds.push_back(took);
    for (std::size_t i = 0; i < kernels.size(); ++i) kernel_seconds[i].push_back(kernels[i]);
  }
};

/// The value below which `share` of the values lie.
double quantile(std::vector<double> values, double share) {
  const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(at));
  return values[at];
}

/// A kernel's median rates.
struct KernelRate {
  const runtime::Step* step;
  double seconds = 0;
  double flops = 0;
  double bytes = 0;      // of its parameters, each counted once
  double predicted = 0;  // seconds
};

std::vector<KernelRate> kernel_rates(const Variant& variant, const MachinePeak& peak,
                                     std::int64_t threads) {
  std::vector<KernelRate> rates;
  for (std::size_t i = 0; i < variant.step.steps.size(); ++i) {
    const runtime::Step& step = variant.step.steps[i];
    const double seconds = std::max(quantile(variant.kernel_seconds[i], 0.5), 1e-9);
    KernelWork work = work_of(step);
    for (const runtime::Loop& loop : variant.step.loops) {
      if (i < loop.first || i >= loop.first + loop.count) continue;
      work.flops *= static_cast<double>(loop.length);
      work.bytes *= static_cast<double>(loop.length);
    }
    rates.push_back({&step, seconds, work.flops / seconds, work.bytes / seconds,
                     predicted_seconds(work, peak, threads)});
  }
  std::ranges::stable_sort(rates, std::ranges::greater{}, &KernelRate::seconds);
  return rates;
}

void print(const Subject& subject, const std::vector<Variant>& variants, const MachinePeak& peak,
           std::int64_t threads) {
  std::size_t width = 8;
  for (const Variant& v : variants) width = std::max(width, v.name.size());
  std::cout << fmt::format("{}, {} thread{}\n\n", subject.what, threads, threads == 1 ? "" : "s");
  std::cout << fmt::format("{:<{}} {:>8} {:>12} {:>20} {:>14} {:>12}\n", "", width, "kernels",
                           "median us", "10 % - 90 % us", "arena bytes", "compiled ms");
  for (const Variant& v : variants) {
    std::cout << fmt::format("{:<{}} {:>8} {:>12.1f} {:>20} {:>14} {:>12.0f}\n", v.name, width,
                             v.step.steps.size(), 1e6 * quantile(v.seconds, 0.5),
                             fmt::format("{:.1f} - {:.1f}", 1e6 * quantile(v.seconds, 0.1),
                                         1e6 * quantile(v.seconds, 0.9)),
                             v.step.arena_bytes, 1e3 * v.compile_seconds);
  }
  std::cout << "\n";
  for (std::size_t i = 1; i < variants.size(); ++i) {
    std::cout << fmt::format(
        "fused is {:.2f} times as fast as {}\n",
        quantile(variants[i].seconds, 0.5) / quantile(variants[0].seconds, 0.5), variants[i].name);
  }
  std::cout << fmt::format("this machine: {:.0f} GFLOP/s of fma, {:.1f} GB/s copied\n",
                           1e-9 * peak.flops, 1e-9 * peak.bytes);
  std::cout << fmt::format("\n{:<36} {:>6} {:>10} {:>10} {:>9} {:>6} {:>7} {:>7}  {}\n",
                           "fused kernel", "tasks", "median us", "predicted", "GFLOP/s", "of fma",
                           "GB/s", "of copy", "from");
  for (const KernelRate& rate : kernel_rates(variants[0], peak, threads)) {
    std::cout << fmt::format(
        "{:<36} {:>6} {:>10.1f} {:>10.1f} {:>9.1f} {:>5.0f}% {:>7.1f} {:>6.0f}%  {}\n",
        rate.step->name, rate.step->tasks, 1e6 * rate.seconds, 1e6 * rate.predicted,
        1e-9 * rate.flops, 100 * rate.flops / peak.flops, 1e-9 * rate.bytes,
        100 * rate.bytes / peak.bytes, rate.step->provenance);
  }
}

nlohmann::ordered_json json_of(const Subject& subject, const std::vector<Variant>& variants,
                               const MachinePeak& peak, std::int64_t threads) {
  nlohmann::ordered_json json{{"step", subject.what},
                              {"threads", threads},
                              {"peak_flops", peak.flops},
                              {"peak_copy_bytes", peak.bytes}};
  for (const Variant& v : variants) {
    nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
    for (const KernelRate& rate : kernel_rates(v, peak, threads)) {
      kernels.push_back({{"name", rate.step->name},
                         {"from", rate.step->provenance},
                         {"tasks", rate.step->tasks},
                         {"seconds", rate.seconds},
                         {"predicted_seconds", rate.predicted},
                         {"flops", rate.flops},
                         {"bytes", rate.bytes}});
    }
    json[v.name] = {{"seconds", quantile(v.seconds, 0.5)},
                    {"seconds_10", quantile(v.seconds, 0.1)},
                    {"seconds_90", quantile(v.seconds, 0.9)},
                    {"runs", v.seconds.size()},
                    {"compile_seconds", v.compile_seconds},
                    {"arena_bytes", v.step.arena_bytes},
                    {"kernels", kernels}};
  }
  return json;
}

int bench(const BenchOptions& options) {
  runtime::Executor executor(options.model.workers());
  const bool is_graph = options.model.file.ends_with(".ir");
  const Subject subject = is_graph ? graph_of_file(options) : subject_of_model(options, executor);
  codegen::CompileOptions fused = options.model.compile_options();
  fused.store = nullptr;  // the time to compile is part of the result
  codegen::CompileOptions unfused = fused;
  unfused.fuse = false;
  unfused.tuner = nullptr;
  std::vector<Variant> variants;
  const auto limit = options.model.memory_limit();
  variants.emplace_back("fused", subject, fused, limit);
  for (const std::string& stage : options.without) {
    codegen::CompileOptions part = fused;
    part.without = {stage};
    variants.emplace_back("without " + stage, subject, part, limit);
  }
  if (!options.fused_only) variants.emplace_back("unfused", subject, unfused, limit);
  std::vector<std::span<const std::byte>> inputs;
  for (const Tensor& input : subject.inputs) inputs.emplace_back(input.bytes);
  const Stopwatch watch;
  // Interleaved, so that a slow moment of the machine meets both.
  do {
    for (Variant& variant : variants) {
      for (int i = 0; i < 5; ++i) variant.run(executor, inputs);
    }
  } while (watch.seconds() < static_cast<double>(variants.size()) * options.seconds);
  const MachinePeak peak = measure_peak(codegen::make_target(fused.set), executor);
  if (options.model.json) {
    nlohmann::ordered_json json = json_of(subject, variants, peak, executor.workers());
    if (options.model.tune) json["tuned"] = options.model.tuned();
    print_json(json);
  } else {
    print(subject, variants, peak, executor.workers());
  }
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand(
      "bench", "Fused against unfused kernels of a model's training step or of a graph (.ir)");
  command->footer("Example: gradus bench models/digits_mlp.json --threads 1");
  auto options = std::make_shared<BenchOptions>();
  options->model.add_to(*command);
  options->model.add_tune_to(*command);
  command->add_option("--init", options->initial_weights, "Weights to start from (safetensors)");
  command->add_flag("--fused-only", options->fused_only, "Leave the unfused kernels out");
  command
      ->add_option("--without", options->without,
                   "Measures the step without these stages too, each alone")
      ->delimiter(',')
      ->check(CLI::IsMember(codegen::optional_stages()));
  command->add_option("--seconds", options->seconds, "Measuring time per variant")
      ->check(CLI::Range(0.001, 3600.0));
  command->callback([options, &status] { status = bench(*options); });
}

}  // namespace gradus::tools
