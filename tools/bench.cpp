#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "runtime/evaluate.h"
#include "runtime/executor.h"
#include "tools/commands.h"

namespace gradus::tools {
namespace {

struct BenchOptions {
  ModelOptions model;
  double seconds = 1;  // per variant
};

/// One way of compiling the step, with what running it took.
struct Variant {
  std::string name;
  ProgramCache cache;
  runtime::Programs programs;
  runtime::AlignedBytes state;
  const runtime::Executable* step = nullptr;
  std::vector<double> step_seconds;  // per kernel, of all runs
  double best = 1e30;                // of one run
  std::int64_t runs = 0;

  Variant(std::string label, const frontend::Model& model, codegen::CompileOptions options,
          runtime::Executor& executor, std::int64_t batch)
      : name(std::move(label)), cache(model, options), programs(cache.programs()) {
    state = runtime::initial_state(programs, executor, model.training().seed);
    step = &cache.get(runtime::Program::train_step, batch);
    step_seconds.resize(step->steps.size());
  }

  void run(runtime::Executor& executor, std::span<const std::span<const std::byte>> inputs) {
    const auto start = std::chrono::steady_clock::now();
    (void)executor.run(*step, state, inputs, step_seconds);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
                              .count());
    ++runs;
  }
};

void print_kernels(const Variant& variant) {
  std::vector<std::size_t> order(variant.step_seconds.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return variant.step_seconds[a] > variant.step_seconds[b];
  });
  std::cout << fmt::format("\n{:<44} {:>6} {:>10} {:>9} {:>9}\n", variant.name + " kernels", "tasks",
                           "us", "GFLOP/s", "GB/s");
  for (std::size_t i : order) {
    const runtime::Step& step = variant.step->steps[i];
    const double seconds = variant.step_seconds[i] / static_cast<double>(variant.runs);
    std::int64_t bytes = 0;
    for (const runtime::BufferReference& buffer : step.buffers) bytes += buffer.bytes;
    std::cout << fmt::format("{:<44} {:>6} {:>10.1f} {:>9.1f} {:>9.1f}\n", step.name, step.tasks,
                             1e6 * seconds, static_cast<double>(step.operations) / seconds * 1e-9,
                             static_cast<double>(bytes) / seconds * 1e-9);
  }
}

int bench(const BenchOptions& options) {
  const frontend::Model model = options.model.model();
  runtime::Executor executor(options.model.workers());
  const runtime::DataSplits data = load_data_of(model);
  const runtime::BatchPlan plan{data.train.examples(), model.training().batch};
  const std::vector<std::uint32_t> order = runtime::epoch_order(data.train.examples(), false, 0, 0);
  const auto batch = static_cast<std::size_t>(plan.size(0));
  codegen::CompileOptions fused = options.model.compile_options();
  codegen::CompileOptions unfused = fused;
  unfused.fuse = false;
  std::vector<std::unique_ptr<Variant>> variants;
  variants.push_back(std::make_unique<Variant>("fused", model, fused, executor, plan.size(0)));
  variants.push_back(std::make_unique<Variant>("unfused", model, unfused, executor, plan.size(0)));
  runtime::BatchReader reader(data.train);
  const auto start = std::chrono::steady_clock::now();
  // Interleaved, so that a slow moment of the machine meets both.
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() <
         2 * options.seconds) {
    for (const auto& variant : variants) {
      const auto inputs = reader.read(*variant->step, std::span(order).first(batch));
      for (int i = 0; i < 5; ++i) variant->run(executor, inputs);
    }
  }
  nlohmann::ordered_json json{{"batch", batch}, {"threads", options.model.workers()}};
  for (const auto& variant : variants) {
    json[variant->name] = {{"kernels", variant->step->steps.size()},
                           {"best_microseconds", 1e6 * variant->best},
                           {"arena_bytes", variant->step->arena_bytes}};
    if (options.model.json) continue;
    std::cout << fmt::format("{:<8} {:>4} kernels  {:>10.1f} us per step (best of {})  arena {} bytes\n",
                             variant->name, variant->step->steps.size(), 1e6 * variant->best,
                             variant->runs, variant->step->arena_bytes);
  }
  const double ratio = variants[1]->best / variants[0]->best;
  json["fused_is_faster_by"] = ratio;
  if (options.model.json) {
    std::cout << json << '\n';
    return 0;
  }
  std::cout << fmt::format("fused is {:.2f} times as fast\n", ratio);
  print_kernels(*variants[0]);
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("bench", "Fused against unfused kernels of a training step");
  command->footer("Example: gradus bench models/digits_mlp.json --threads 1");
  auto options = std::make_shared<BenchOptions>();
  options->model.add_to(*command);
  command->add_option("--seconds", options->seconds, "Measuring time per variant");
  command->callback([options, &status] { status = bench(*options); });
}

}  // namespace gradus::tools
