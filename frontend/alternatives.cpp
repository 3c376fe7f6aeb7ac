// What the sections "data" and "optimizer" choose from.

#include "frontend/spec.h"

namespace gradus::frontend {
namespace {

constexpr Range kCount{0, 4294967295.0};
constexpr Range kSome{1, 4294967295.0};
constexpr Range kFinite{-1e6, 1e6};

std::vector<Alternative> make_sources() {
  using std::int64_t;
  const auto generated = [](std::vector<Option> options, int64_t examples, int64_t test) {
    options.push_back(integer_option("examples", examples, "Training examples.", kSome));
    options.push_back(integer_option("test_examples", test, "Test examples.", kCount));
    options.push_back(integer_option("seed", int64_t{0}, "Seed of the data.", {0, kWhole}));
    return options;
  };
  return {
      {"linear", "y = slope x + intercept + noise: inputs x f32[1] and y f32[1].",
       generated({number_option("slope", 2.0, "Slope.", kFinite),
                  number_option("intercept", 1.0, "y at x = 0.", kFinite),
                  number_option("noise", 0.1, "Standard deviation of the noise.", {0, 1e6})},
                 2000, 500)},
      {"spirals", "Arms of points in the plane: inputs point f32[2] and label i32[].",
       generated({integer_option("classes", int64_t{2}, "Number of arms.", {2, 100}),
                  number_option("turns", 1.0, "Turns of each arm.", {0, 10}),
                  number_option("noise", 0.02, "Deviation of each coordinate.", {0, 10})},
                 2000, 500)},
      {"ring",
       "Normal distributions around points of a circle: inputs point f32[2] and mode i32[].",
       generated(
           {integer_option("modes", int64_t{8}, "Number of distributions.", {1, 1000}),
            number_option("radius", 1.0, "Of the circle.", {0, 1e6}),
            number_option("deviation", 0.02, "Standard deviation of each coordinate.", {0, 1e6})},
           10000, 1000)},
      {"digits", "Drawings of the ten digits: inputs image f32[28,28,1] and label i32[].",
       generated({}, 10000, 2000)},
      {"shapes",
       "Drawings of discs, triangles and squares in two domains: inputs filled f32[28,28,1] and "
       "outlined f32[28,28,1], in training of different shapes, in the test of the same.",
       generated({}, 4000, 500)},
      {"adding",
       "Sequences of numbers, two of them marked: inputs sequence f32[length,2] and sum f32[1].",
       generated({integer_option("length", int64_t{100}, "Numbers of a sequence.", {2, 1e6})},
                 10000, 2000)},
      {"sequences",
       "Sequences of tokens to copy, reverse or sort: inputs source, target and next i32[length]. "
       "next is the result, target the same one position later. Token 0 is padding, 1 the start.",
       generated({choice_option("task", {}, "What is made of a sequence.",
                                {{"copy", "The same.", {}},
                                 {"reverse", "The last token first.", {}},
                                 {"sort", "The tokens in ascending order.", {}}}),
                  integer_option("length", int64_t{10}, "Tokens of a sequence.", {1, 1e6}),
                  integer_option("least_length", int64_t{0},
                                 "Sequences have this many tokens up to length, then padding; 0: "
                                 "length.",
                                 {0, 1e6}),
                  integer_option("vocabulary", int64_t{10},
                                 "Number of tokens, padding and start included.", {3, 1e9})},
                 10000, 1000)},
      {"brackets",
       "Sequences of brackets: inputs sequence i32[2 pairs] and label i32[], 1 for balanced ones, "
       "0 for such in which brackets changed places by twos. Tokens 1 to kinds open, kinds + 1 to "
       "2 "
       "kinds close, 0 is padding.",
       generated({integer_option("pairs", int64_t{16}, "Pairs of a sequence.", {1, 1e5}),
                  integer_option("least_pairs", int64_t{0},
                                 "Sequences have this many pairs up to pairs, then padding; 0: "
                                 "pairs.",
                                 {0, 1e5}),
                  integer_option("kinds", int64_t{2}, "Kinds of brackets.", {1, 1e6})},
                 10000, 1000)},
      {"sines",
       "Means of sines: inputs sequence f32[length], next f32[length], the same one step further, "
       "and label i32[], the number of sines less 1.",
       generated({integer_option("waves", int64_t{3}, "Most sines of a sequence.", {1, 1000}),
                  integer_option("length", int64_t{64}, "Steps of a sequence.", {1, 1e6}),
                  number_option("least_frequency", 0.02, "In turns per step.", {0, 0.5}),
                  number_option("greatest_frequency", 0.2, "In turns per step.", {0, 0.5}),
                  number_option("noise", 0.05, "Standard deviation of what is added.", {0, 1e6})},
                 10000, 1000)},
      {"idx",
       "MNIST's four files, plain or gzip: inputs image f32[28,28,1] and label i32[].",
       {path_option("directory", {}, "Where the files are.")}},
      {"cifar10",
       "CIFAR-10's binary batches, plain or gzip: inputs image f32[32,32,3] and label i32[].",
       {path_option("directory", {}, "Where the files are.")}},
      {"text",
       "A text: inputs text i32[length] and next i32[length], the same one token further.",
       {path_option("file", {}, "The text."),
        integer_option("length", int64_t{128}, "Tokens of an example.", {1, 1e6}),
        integer_option("stride", int64_t{0},
                       "Tokens from the beginning of an example to that of the next; 0: length.",
                       {0, 1e9}),
        number_option("test", 0.1, "Share of the text, its end, for the test.", {0, 1, true}),
        choice_option(
            "tokens", std::string("characters"), "What the text is cut into.",
            {{"characters", "Those of UTF-8, numbered in ascending order of those that occur.", {}},
             {"bytes", "Bytes.", {}}})}},
      {"tensors",
       "safetensors files with one array per input.",
       {path_option("file", {}, "The training data."),
        path_option("test_file", std::string(), "The test data; none when absent.")}},
  };
}

Option hyperparameter_option(const ir::Hyperparameter& p) {
  return number_option(std::string(p.name), p.default_value, std::string(p.doc),
                       {p.least, p.greatest});
}

/// "learning_rate": a number, or {"schedule": "cosine", "rate": 0.1, ...}.
Option learning_rate_option(double rate) {
  std::vector<Alternative> schedules;
  for (const ir::Schedule& schedule : ir::schedules()) {
    std::vector<Option> options{
        number_option("rate", rate, "The rate that is scheduled.", {0, 1e6}),
        integer_option("warm_up", std::int64_t{0}, "Steps in which the rate grows from 0.",
                       {0, kWhole})};
    for (const ir::Hyperparameter& p : schedule.parameters) {
      options.push_back(hyperparameter_option(p));
    }
    schedules.push_back(
        {std::string(schedule.name), std::string(schedule.doc), std::move(options)});
  }
  Option option = choice_option("learning_rate", std::string(ir::schedules().front().name),
                                "A number, or a schedule.", std::move(schedules));
  option.key = "schedule";
  option.shorthand = "rate";
  return option;
}

std::vector<Alternative> make_optimizers() {
  std::vector<Alternative> result;
  for (const ir::Optimizer& optimizer : ir::optimizers()) {
    std::vector<Option> options{learning_rate_option(optimizer.learning_rate)};
    bool decays = false;
    for (const ir::Hyperparameter& p : optimizer.hyperparameters) {
      options.push_back(hyperparameter_option(p));
      decays = decays || p.name == "weight_decay";
    }
    if (!decays) {
      options.push_back(number_option("weight_decay", 0.0,
                                      "Each step first takes rate times this off every parameter.",
                                      {0, 1}));
    }
    options.push_back(number_option(
        "clip_norm", 0.0, "Gradients are scaled down to this global norm; 0: never.", {0, 1e9}));
    result.push_back({std::string(optimizer.name), std::string(optimizer.doc), std::move(options)});
  }
  return result;
}

}  // namespace

std::span<const Option> data_options() {
  static const std::vector<Option> options{
      number_option("validation", 0.0, "Share of the examples kept for validation.", {0, 1, true}),
      boolean_option("shuffle", true,
                     "Whether each epoch has its own order of examples; false with "
                     "`contiguous`."),
      boolean_option("contiguous", false,
                     "Whether example i of a batch is the one behind example i of the batch "
                     "before: the examples are cut into as many streams as a batch has examples, "
                     "so that layers that are `stateful` read on in a text.")};
  return options;
}

std::span<const Alternative> data_sources() {
  static const std::vector<Alternative> sources = make_sources();
  return sources;
}

std::span<const Alternative> optimizer_alternatives() {
  static const std::vector<Alternative> optimizers = make_optimizers();
  return optimizers;
}

}  // namespace gradus::frontend
