#include <fmt/format.h>

#include <algorithm>

#include "base/diagnostic.h"
#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

constexpr std::int32_t kStart = 1;
constexpr std::int32_t kFirstSymbol = 2;

using Tokens = std::span<std::int32_t>;

struct Task {
  std::string_view name;
  void (*perform)(Tokens tokens);  // in place
};
constexpr Task kTasks[] = {
    {"copy", [](Tokens) {}},
    {"reverse", [](Tokens tokens) { std::ranges::reverse(tokens); }},
    {"sort", [](Tokens tokens) { std::ranges::sort(tokens); }},
};

Dataset make(const SequencesData& parameters, const Task& task, std::int64_t examples,
             const char* purpose) {
  const std::int64_t length = parameters.length;
  const std::int64_t least = parameters.least_length == 0 ? length : parameters.least_length;
  const TensorType type{ElementType::i32, {examples, length}};
  Tensor source = allocate_tensor(type, "sequences");
  Tensor target = allocate_tensor(type, "sequences");
  Tensor next = allocate_tensor(type, "sequences");
  RandomStream random(parameters.seed, purpose, 0);
  for (std::int64_t i = 0; i < examples; ++i) {
    const auto row = [&](Tensor& tensor) {
      return tensor.as<std::int32_t>().subspan(static_cast<std::size_t>(i * length),
                                               static_cast<std::size_t>(length));
    };
    const auto count = static_cast<std::size_t>(
        least + random.below(static_cast<std::uint32_t>(length - least + 1)));
    const Tokens given = row(source), shifted = row(target), result = row(next);
    std::ranges::fill(given, 0);
    for (std::int32_t& token : given.first(count)) {
      const auto symbols = static_cast<std::uint32_t>(parameters.vocabulary - kFirstSymbol);
      token = kFirstSymbol + static_cast<std::int32_t>(random.below(symbols));
    }
    std::ranges::copy(given, result.begin());
    task.perform(result.first(count));
    std::ranges::fill(shifted, 0);
    shifted[0] = kStart;
    std::ranges::copy(result.first(count - 1), shifted.begin() + 1);
  }
  return {
      "data source 'sequences'",
      {{"source", std::move(source)}, {"target", std::move(target)}, {"next", std::move(next)}}};
}

}  // namespace

DataSplits make_sequences(const SequencesData& parameters) {
  const auto check = [](const char* name, std::int64_t value, double low, double high) {
    check_data_parameter("sequences", name, static_cast<double>(value), low, high);
  };
  check("length", parameters.length, 1, 1e6);
  check("least_length", parameters.least_length, 0, static_cast<double>(parameters.length));
  check("vocabulary", parameters.vocabulary, 3, 1e9);
  check("examples", parameters.examples, 1, 1e9);
  check("test_examples", parameters.test_examples, 0, 1e9);
  const auto* task = std::ranges::find(kTasks, parameters.task, &Task::name);
  if (task == std::end(kTasks)) {
    throw UserError("E1007", fmt::format("data source 'sequences': task is \"{}\", none of "
                                         "\"copy\", \"reverse\" and \"sort\"",
                                         parameters.task));
  }
  return {make(parameters, *task, parameters.examples, "sequences train"),
          make(parameters, *task, parameters.test_examples, "sequences test")};
}

}  // namespace gradus::runtime
