#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/checkpoint.h"
#include "runtime/data/utf8.h"
#include "runtime/evaluate.h"
#include "runtime/executor.h"
#include "runtime/file.h"
#include "tools/commands.h"
#include "tools/token_text.h"

namespace gradus::tools {
namespace {

using Tokens = std::vector<std::int32_t>;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct GenerateOptions {
  ModelOptions model;
  std::string weights = "run/weights.safetensors";
  std::string prompt;
  std::int64_t length = 200;
  std::int64_t samples = 1;
  frontend::Sampling sampling;
  std::optional<std::uint64_t> seed;
  std::string output;
};

/// The program, compiled, with the state that it runs on: weights, counters and what it carries.
class Generator {
 public:
  Generator(const GenerateOptions& options, const frontend::Model& model,
            frontend::DecodeProgram program)
      : token_(std::move(program.token)),
        positions_(program.positions),
        executor_(options.model.workers()) {
    for (const frontend::StateSpec& entry : model.state()) {
      if (const auto kind = kept(entry.kind)) layout_.add(entry.name, entry.type, *kind);
    }
    for (const frontend::StateSpec& entry : program.carried) {
      layout_.add(entry.name, entry.type, runtime::StateKind::carried);
    }
    const codegen::CompileOptions compile = options.model.compile_options();
    codegen::FittedPlan fitted =
        codegen::plan_within(program.graph, layout_, compile, options.model.memory_limit());
    if (!fitted.fits) {
      throw UserError("E5002", fmt::format("generation takes {} bytes, more than --memory {}",
                                           fitted.use.total(), options.model.memory));
    }
    executable_ = codegen::compile(fitted.plan, layout_, compile);
    state_ = runtime::allocate(layout_.bytes, "the model's state");
    runtime::load_weights(options.weights, layout_, state_);
    const auto seed = static_cast<std::int64_t>(options.seed.value_or(model.training().seed));
    std::memcpy(state_.data() + layout_.find("seed")->offset, &seed, sizeof seed);
  }

  /// The tokens that the program chooses after one more of every sequence. When its positions are
  /// used up, it goes on from the later half of what it saw.
  Tokens next(const Tokens& tokens) {
    if (positions_ > 0 && position_ == positions_) slide();
    if (positions_ > 0) seen_.push_back(tokens);
    return run(tokens);
  }
  /// Whether some token has been chosen without the whole of what was before.
  [[nodiscard]] bool slid() const { return slid_; }
  [[nodiscard]] std::int64_t positions() const { return positions_; }

 private:
  static std::optional<runtime::StateKind> kept(frontend::StateKind kind) {
    switch (kind) {
      case frontend::StateKind::parameter:
        return runtime::StateKind::parameter;
      case frontend::StateKind::statistic:
        return runtime::StateKind::statistic;
      case frontend::StateKind::counter:
        return runtime::StateKind::counter;
      case frontend::StateKind::slot:
      case frontend::StateKind::carried:  // of training
        break;
    }
    return std::nullopt;
  }

  void slide() {
    runtime::begin_pass(layout_, state_);
    position_ = 0;
    slid_ = true;
    seen_.erase(seen_.begin(), seen_.end() - positions_ / 2);
    for (const Tokens& tokens : seen_) (void)run(tokens);
  }

  Tokens run(const Tokens& tokens) {
    std::vector<std::span<const std::byte>> inputs;
    for (const runtime::ExecutableInput& input : executable_.inputs) {
      Tensor& value = input.name == token_ ? token_value_ : position_value_;
      value = Tensor(input.type);
      if (input.name == token_) {
        std::memcpy(value.bytes.data(), tokens.data(), value.bytes.size());
      } else {
        value.as<std::int64_t>()[0] = position_;
      }
      inputs.emplace_back(value.bytes);
    }
    const runtime::RunResult result = executor_.run(executable_, state_, inputs);
    if (result.fault != 0) throw UserError("E3002", describe_fault(executable_, result));
    ++position_;
    for (std::size_t i = 0; i < executable_.outputs.size(); ++i) {
      if (executable_.outputs[i].name != "next") continue;
      const Tensor next = executor_.output(executable_, i);
      return {next.as<std::int32_t>().begin(), next.as<std::int32_t>().end()};
    }
    throw InternalError("generation without a next token");
  }

  const std::string token_;
  const std::int64_t positions_;  // 0: any number
  runtime::Executor executor_;
  runtime::StateLayout layout_;
  runtime::Executable executable_;
  runtime::AlignedBytes state_;
  Tensor token_value_;
  Tensor position_value_;
  std::vector<Tokens> seen_;  // at the positions so far
  std::int64_t position_ = 0;
  bool slid_ = false;
};

/// What follows the prompt, in every sample.
std::vector<Tokens> continuations(Generator& generator, const Tokens& prompt,
                                  const GenerateOptions& options) {
  const auto samples = static_cast<std::size_t>(options.samples);
  Tokens next;
  for (const std::int32_t token : prompt) next = generator.next(Tokens(samples, token));
  std::vector<Tokens> all(samples);
  for (std::int64_t i = 0; i < options.length; ++i) {
    if (i > 0) next = generator.next(next);
    for (std::size_t sample = 0; sample < samples; ++sample) all[sample].push_back(next[sample]);
  }
  return all;
}

/// Prompt and continuation of every sample, between lines of their own where there are several.
std::string page(const TokenText& text, const Tokens& prompt, const std::vector<Tokens>& samples) {
  std::string page;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (samples.size() > 1) page += fmt::format("--- {} of {}\n", i + 1, samples.size());
    Tokens all = prompt;
    all.insert(all.end(), samples[i].begin(), samples[i].end());
    page += text.text(all) + '\n';
  }
  return page;
}

void print_samples(const TokenText& text, const std::vector<Tokens>& samples,
                   const GenerateOptions& options, bool slid, double compile_seconds,
                   double seconds) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Tokens& tokens : samples) {
    nlohmann::ordered_json sample{{"tokens", tokens}};
    const std::string written = text.text(tokens);
    if (!runtime::decode_utf8(written).malformed) sample["text"] = written;
    list.push_back(std::move(sample));
  }
  nlohmann::ordered_json json{{"event", "end"},
                              {"samples", list},
                              {"slid", slid},
                              {"compile_seconds", compile_seconds},
                              {"seconds", seconds}};
  if (!options.output.empty()) json["output"] = options.output;
  print_json(json);
}

int generate(const GenerateOptions& options) {
  const Clock::time_point start = Clock::now();
  const frontend::Model model = options.model.model();
  const TokenText text(model.data(), runtime::saved_vocabulary(options.weights), options.weights);
  const Tokens prompt = text.tokens(options.prompt, "--prompt");
  frontend::Sampling sampling = options.sampling;
  sampling.tokens = text.count();
  std::optional<runtime::OutputFile> file;  // before the work
  if (!options.output.empty()) file.emplace(options.output);
  Generator generator(options, model, model.decode(options.samples, sampling));
  const double compile_seconds = seconds_since(start);
  const Clock::time_point began = Clock::now();
  const std::vector<Tokens> samples = continuations(generator, prompt, options);
  const double seconds = seconds_since(began);
  const std::string written = page(text, prompt, samples);
  if (file) {
    file->write(written);
    file->commit();
  }
  if (options.model.json) {
    print_samples(text, samples, options, generator.slid(), compile_seconds, seconds);
    return 0;
  }
  std::cout << (options.output.empty() ? written : options.output + "\n");
  if (generator.slid()) {
    std::cerr << fmt::format(
        "the model sees {} tokens: whenever they were full, it went on from the last {}\n",
        generator.positions(), generator.positions() / 2);
  }
  std::cerr << fmt::format("{} tokens in {:.2f} s, compiled in {:.0f} ms\n",
                           options.length * options.samples, seconds, 1e3 * compile_seconds);
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("generate", "Goes on with a prompt, token by token");
  command->footer("Example: gradus generate models/gpt_small.json --prompt \"To be\" --top-k 20");
  auto options = std::make_shared<GenerateOptions>();
  options->model.add_to(*command);
  command->add_option("--weights", options->weights, "Weights or checkpoint (safetensors)");
  command
      ->add_option("--prompt", options->prompt,
                   "How the text begins; tokens as numbers where the data are no text")
      ->required();
  command->add_option("--length", options->length, "Tokens to generate")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 32));
  command->add_option("--samples", options->samples, "Continuations, drawn independently")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{65536}));
  auto* greedy =
      command->add_flag("--greedy", options->sampling.greedy, "Always the likeliest token");
  command
      ->add_option("--temperature", options->sampling.temperature,
                   "Divides the logits: below 1 likely tokens become likelier")
      ->check([](const std::string& text) {
        const bool is_nan = text.find_first_of("nN") != std::string::npos;
        return is_nan ? "a number is wanted, found " + text : CLI::Range(1e-6, 1e6)(text);
      })
      ->excludes(greedy);
  command
      ->add_option("--top-k", options->sampling.top_k, "Draws from so many likeliest tokens only")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31))
      ->excludes(greedy);
  command->add_option("--seed", options->seed, "Of what is drawn (default: training.seed)")
      ->envname("GRADUS_SEED");
  command->add_option("-o,--output", options->output, "File for the text (default: stdout)");
  command->callback([options, &status] { status = generate(*options); });
}

}  // namespace gradus::tools
