#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/stopwatch.h"
#include "codegen/stored_program.h"
#include "runtime/checkpoint.h"
#include "runtime/data/utf8.h"
#include "runtime/evaluate.h"
#include "runtime/executor.h"
#include "runtime/file.h"
#include "tools/commands.h"
#include "tools/prefill.h"
#include "tools/token_text.h"

namespace gradus::tools {
namespace {

volatile std::sig_atomic_t interrupted = 0;  // set by the signal handler

using Tokens = std::vector<std::int32_t>;

struct GenerateOptions {
  ModelOptions model;
  std::string weights = "run/weights.safetensors";
  std::string prompt;
  std::string source;
  std::int64_t length = 200;
  std::int64_t samples = 1;
  frontend::Sampling sampling;
  std::optional<std::uint64_t> seed;
  std::string prefill = "auto";
  std::string output;
};

/// What a run did, for --json.
struct Summary {
  bool prefilled = false;
  bool slid = false;
  double compile_seconds = 0;
  double seconds = 0;
  std::size_t cached_modules = 0;  // of machine code
  std::size_t compiled_modules = 0;
};

/// The program, compiled, with the state that it runs on: weights, counters and what it carries.
class Generator {
 public:
  Generator(const GenerateOptions& options, const frontend::Model& model,
            frontend::DecodeProgram program, std::optional<frontend::DecodeProgram> prefill)
      : token_(std::move(program.token)),
        positions_(program.positions),
        executor_(options.model.workers()),
        layout_(layout_of(model, program)) {
    executable_ = compiled(program.graph, options);
    if (program.encode) encode_ = compiled(*program.encode, options);
    if (prefill) prefill_ = compiled(prefill->graph, options);
    state_ = runtime::allocate(layout_.bytes, "the model's state");
    runtime::load_weights(options.weights, layout_, state_);
    const auto seed = static_cast<std::int64_t>(options.seed.value_or(model.training().seed));
    std::memcpy(state_.data() + layout_.find("seed")->offset, &seed, sizeof seed);
  }

  /// Begins, with the sequence that an encoder reads, if there is one.
  void begin(const Tokens& source) {
    source_ = source;
    encode();
  }
  /// Reads one more token of every sequence. When its positions are used up, the program goes on
  /// from the later half of what it saw.
  void read(const Tokens& tokens) {
    if (positions_ > 0 && position_ == positions_) slide();
    if (positions_ > 0) seen_.push_back(tokens);
    run(executable_, tokens, 1);
  }
  /// Reads the first tokens of every sequence.
  void read_first(const Tokens& prompt, std::int64_t samples) {
    if (!prefill_) {
      for (std::size_t i = 0; i < prompt.size() && interrupted == 0; ++i) {
        read(Tokens(static_cast<std::size_t>(samples), prompt[i]));
      }
      return;
    }
    Tokens all;
    for (std::int64_t i = 0; i < samples; ++i) all.insert(all.end(), prompt.begin(), prompt.end());
    for (const std::int32_t token : prompt) {
      if (positions_ > 0) seen_.emplace_back(static_cast<std::size_t>(samples), token);
    }
    run(*prefill_, all, static_cast<std::int64_t>(prompt.size()));
  }
  /// The tokens that the program chooses after those that it read. Throws UserError E3001 where its
  /// logits are no numbers, or none of them is finite.
  [[nodiscard]] Tokens next() const {
    check_logits(output("logits"));
    const Tensor next = output("next");
    return {next.as<std::int32_t>().begin(), next.as<std::int32_t>().end()};
  }
  /// Whether some token has been chosen without the whole of what was before.
  [[nodiscard]] bool slid() const { return slid_; }
  [[nodiscard]] std::int64_t positions() const { return positions_; }
  [[nodiscard]] std::size_t cached_modules() const { return cached_modules_; }
  [[nodiscard]] std::size_t compiled_modules() const { return compiled_modules_; }

 private:
  runtime::Executable compiled(const ir::Graph& graph, const GenerateOptions& options) {
    const codegen::CompileOptions compile = options.model.compile_options();
    const codegen::MemoryLimit limit = options.model.memory_limit();
    codegen::CompiledProgram program =
        codegen::compile_program(graph, layout_, compile, limit, [&] {
          codegen::FittedPlan fitted = codegen::plan_within(graph, layout_, compile, limit);
          if (fitted.fits) return std::move(fitted.plan);
          throw UserError("E5002", fmt::format("generation takes {} bytes, more than --memory {}",
                                               fitted.use.total(), options.model.memory));
        });
    cached_modules_ += program.cached_modules;
    compiled_modules_ += program.compiled_modules;
    return std::move(program.executable);
  }

  void encode() {
    if (!encode_) return;
    std::vector<Tensor> values;
    std::vector<std::span<const std::byte>> inputs;
    for (const runtime::ExecutableInput& input : encode_->inputs) {
      Tensor& value = values.emplace_back(input.type);
      dispatch(input.type.element, [&](auto zero) {
        using T = decltype(zero);
        for (std::size_t i = 0; i < value.as<T>().size(); ++i) {
          value.as<T>()[i] = static_cast<T>(source_[i % source_.size()]);
        }
      });
    }
    for (const Tensor& value : values) inputs.emplace_back(value.bytes);
    const runtime::RunResult result = executor_.run(*encode_, state_, inputs);
    if (result.fault != 0) throw UserError("E3002", describe_fault(*encode_, result));
  }

  void slide() {
    runtime::begin_pass(layout_, state_);
    encode();
    position_ = 0;
    slid_ = true;
    seen_.erase(seen_.begin(), seen_.end() - positions_ / 2);
    for (const Tokens& tokens : seen_) run(executable_, tokens, 1);
  }

  /// With `count` tokens of every sequence.
  void run(const runtime::Executable& executable, const Tokens& tokens, std::int64_t count) {
    std::vector<std::span<const std::byte>> inputs;
    for (const runtime::ExecutableInput& input : executable.inputs) {
      Tensor& value = input.name == token_ ? token_value_ : position_value_;
      value = Tensor(input.type);
      if (input.name == token_) {
        std::memcpy(value.bytes.data(), tokens.data(), value.bytes.size());
      } else {
        value.as<std::int64_t>()[0] = position_;
      }
      inputs.emplace_back(value.bytes);
    }
    const runtime::RunResult result = executor_.run(executable, state_, inputs);
    if (result.fault != 0) throw UserError("E3002", describe_fault(executable, result));
    position_ += count;
    last_run_ = &executable;
  }

  [[nodiscard]] Tensor output(const std::string& name) const {
    for (std::size_t i = 0; i < last_run_->outputs.size(); ++i) {
      if (last_run_->outputs[i].name == name) return executor_.output(*last_run_, i);
    }
    throw InternalError("generation without " + name);
  }

  /// A logit of -infinity is that of a token that never comes.
  static void check_logits(const Tensor& logits) {
    const auto values = logits.as<float>();
    const auto count = static_cast<std::size_t>(logits.type.shape.at(1));
    for (std::size_t first = 0; first < values.size(); first += count) {
      const auto row = values.subspan(first, count);
      const auto bad =
          std::ranges::find_if(row, [](float x) { return std::isnan(x) || x == INFINITY; });
      const bool none = std::ranges::all_of(row, [](float x) { return x == -INFINITY; });
      if (bad == row.end() && !none) continue;
      throw UserError("E3001",
                      none ? "no token can come next: all logits are -inf"
                           : fmt::format("the logit of token {} is {}", bad - row.begin(), *bad));
    }
  }

  const std::string token_;
  const std::int64_t positions_;  // 0: any number
  runtime::Executor executor_;
  runtime::StateLayout layout_;
  runtime::Executable executable_;
  std::optional<runtime::Executable> encode_;
  std::optional<runtime::Executable> prefill_;  // many tokens in one run
  const runtime::Executable* last_run_ = nullptr;
  runtime::AlignedBytes state_;
  Tokens source_;
  Tensor token_value_;
  Tensor position_value_;
  std::vector<Tokens> seen_;  // at the positions so far
  std::int64_t position_ = 0;
  std::size_t cached_modules_ = 0;
  std::size_t compiled_modules_ = 0;
  bool slid_ = false;
};

/// Throws UserError E2006 unless all of the option's tokens are below `known` (0: any number).
void check_tokens(const Tokens& tokens, std::int64_t known, const std::string& option) {
  for (const std::int32_t token : tokens) {
    if (known == 0 || token < known) continue;
    throw UserError(
        "E2006", fmt::format("{} has token {}, the model knows 0 to {}", option, token, known - 1));
  }
}

/// The sequence that an encoder reads, padded with token 0 as the data source "sequences" does it;
/// empty for a model without an encoder.
Tokens source_of(const GenerateOptions& options, const TokenText& text,
                 const frontend::DecodeProgram& program) {
  if (!program.encode) {
    if (options.source.empty()) return {};
    throw UserError("E2006", "--source is for models that read two sequences");
  }
  if (options.source.empty()) {
    throw UserError("E2006",
                    fmt::format("the model also reads '{}': give it as --source", program.source));
  }
  Tokens tokens = text.tokens(options.source, "--source");
  check_tokens(tokens, program.source_tokens, "--source");
  if (static_cast<std::int64_t>(tokens.size()) > program.source_positions) {
    throw UserError("E2006", fmt::format("--source has {} tokens, '{}' at most {}", tokens.size(),
                                         program.source, program.source_positions));
  }
  tokens.resize(static_cast<std::size_t>(program.source_positions), 0);
  return tokens;
}

/// Whether the program for all tokens of the prompt carries the same as the one for a token: what
/// an encoder has left is read by both.
bool carries_the_same(const frontend::DecodeProgram& one, const frontend::DecodeProgram& all) {
  return one.encode.has_value() == all.encode.has_value() &&
         (!one.encode || one.encode->hash() == all.encode->hash());
}

/// The program that reads the prompt in one run, if one does.
std::optional<frontend::DecodeProgram> prefill_of(const GenerateOptions& options,
                                                  const frontend::Model& model,
                                                  const frontend::Sampling& sampling,
                                                  const Tokens& prompt,
                                                  const frontend::DecodeProgram& program) {
  const auto count = static_cast<std::int64_t>(prompt.size());
  if (options.prefill == "never" || count < 2) return std::nullopt;
  const bool always = options.prefill == "always";
  if (program.positions > 0 && count > program.positions) {
    if (!always) return std::nullopt;
    throw UserError("E2006", fmt::format("--prefill always: the prompt has {} tokens, the model "
                                         "sees {} at a time",
                                         count, program.positions));
  }
  // One sample's graph decides, so that its tokens do not depend on how many there are.
  if (!always && !is_prefill_worthwhile(model.decode(1, sampling).graph, count)) {
    return std::nullopt;
  }
  frontend::DecodeProgram all = model.decode(options.samples, sampling, count);
  if (carries_the_same(program, all)) return all;
  if (!always) return std::nullopt;
  throw UserError(
      "E2006",
      "--prefill always: what this model carries from its encoder is another for several "
      "tokens than for one");
}

/// Prints the tokens of a single sample as they come.
class Printer {
 public:
  Printer(const TokenText& text, bool prints) : text_(text), prints_(prints) {}
  ~Printer() {
    if (prints_) std::cout << std::endl;
  }
  Printer(const Printer&) = delete;
  Printer& operator=(const Printer&) = delete;

  void print(std::int32_t token) const {
    if (!prints_) return;
    std::cout << (first_ ? "" : text_.separator()) << text_.text({token}) << std::flush;
    first_ = false;
  }

 private:
  const TokenText& text_;
  const bool prints_;
  mutable bool first_ = true;
};

/// What follows the prompt, in every sample; less of it when interrupted.
std::vector<Tokens> continuations(Generator& generator, const Tokens& source, const Tokens& prompt,
                                  const GenerateOptions& options, const Printer& printer) {
  const auto samples = static_cast<std::size_t>(options.samples);
  std::vector<Tokens> all(samples);
  generator.begin(source);
  for (const std::int32_t token : prompt) printer.print(token);
  generator.read_first(prompt, options.samples);
  for (std::int64_t i = 0; i < options.length && interrupted == 0; ++i) {
    const Tokens next = generator.next();
    for (std::size_t sample = 0; sample < samples; ++sample) all[sample].push_back(next[sample]);
    printer.print(next.front());
    if (i + 1 < options.length) generator.read(next);
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
                   const GenerateOptions& options, const Summary& summary) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Tokens& tokens : samples) {
    nlohmann::ordered_json sample{{"tokens", tokens}};
    const std::string written = text.text(tokens);
    if (!runtime::decode_utf8(written).malformed) sample["text"] = written;
    list.push_back(std::move(sample));
  }
  nlohmann::ordered_json json{{"event", "end"},
                              {"samples", list},
                              {"prefilled", summary.prefilled},
                              {"slid", summary.slid},
                              {"compile_seconds", summary.compile_seconds},
                              {"seconds", summary.seconds},
                              {"cached_modules", summary.cached_modules},
                              {"compiled_modules", summary.compiled_modules},
                              {"interrupted", interrupted != 0}};
  if (!options.output.empty()) json["output"] = options.output;
  print_json(json);
}

/// What there is to say beside the samples.
void print_summary(const Generator& generator, std::int64_t tokens, const Summary& summary) {
  if (summary.slid) {
    std::cerr << fmt::format(
        "the model sees {} tokens: whenever they were full, it went on from the last {}\n",
        generator.positions(), generator.positions() / 2);
  }
  std::cerr << fmt::format("{} tokens in {:.2f} s, compiled in {:.0f} ms\n", tokens,
                           summary.seconds, 1e3 * summary.compile_seconds);
}

int generate(const GenerateOptions& options) {
  const Stopwatch watch;
  const frontend::Model model = options.model.model();
  const TokenText text(model.data(), runtime::saved_vocabulary(options.weights), options.weights);
  const Tokens prompt = text.tokens(options.prompt, "--prompt");
  frontend::Sampling sampling = options.sampling;
  sampling.tokens = text.count();
  std::optional<runtime::OutputFile> file;  // before the work
  if (!options.output.empty()) file.emplace(options.output);
  frontend::DecodeProgram program = model.decode(options.samples, sampling);
  check_tokens(prompt, program.tokens, "--prompt");
  const Tokens source = source_of(options, text, program);
  std::optional<frontend::DecodeProgram> prefill =
      prefill_of(options, model, sampling, prompt, program);
  const bool prefilled = prefill.has_value();
  Generator generator(options, model, std::move(program), std::move(prefill));
  const double compile_seconds = watch.seconds();
  std::signal(SIGINT, [](int) { interrupted = 1; });
  const Stopwatch generation;
  const bool prints = options.samples == 1 && options.output.empty() && !options.model.json;
  const std::vector<Tokens> samples =
      continuations(generator, source, prompt, options, Printer(text, prints));
  const Summary summary{prefilled,
                        generator.slid(),
                        compile_seconds,
                        generation.seconds(),
                        generator.cached_modules(),
                        generator.compiled_modules()};
  const int status = interrupted != 0 ? 128 + SIGINT : 0;
  const std::string written = page(text, prompt, samples);
  if (file) {
    file->write(written);
    file->commit();
  }
  if (options.model.json) {
    print_samples(text, samples, options, summary);
    return status;
  }
  if (!prints) std::cout << (options.output.empty() ? written : options.output + "\n");
  print_summary(generator, std::ssize(samples.front()) * options.samples, summary);
  return status;
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
  command->add_option("--source", options->source,
                      "What an encoder reads, in tokens as --prompt; shorter than the model's "
                      "sequences it is padded with token 0");
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
  command
      ->add_option(
          "--prefill", options->prefill,
          "Whether a program of its own reads the prompt in one run: auto (where that saves "
          "more than compiling it takes), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  command->add_option("-o,--output", options->output, "File for the text (default: stdout)");
  command->callback([options, &status] { status = generate(*options); });
}

}  // namespace gradus::tools
