#include <algorithm>
#include <vector>

#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

using Tokens = std::vector<std::int32_t>;

/// Any balanced sequence of that many pairs with the same probability: with `rest` places left and
/// `depth` brackets open, (depth + 2) (rest - depth) of 2 rest (depth + 1) continuations open
/// another one (Arnold and Sleep, "Uniform random generation of balanced parenthesis strings",
/// TOPLAS 1980).
Tokens balanced(std::int64_t pairs, std::int32_t kinds, RandomStream& random) {
  Tokens tokens;
  Tokens open;
  for (std::int64_t rest = 2 * pairs; rest > 0; --rest) {
    const auto depth = static_cast<std::int64_t>(open.size());
    const double opening = static_cast<double>((depth + 2) * (rest - depth)) /
                           static_cast<double>(2 * rest * (depth + 1));
    if (random.uniform() < opening) {
      open.push_back(1 +
                     static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(kinds))));
      tokens.push_back(open.back());
    } else {
      tokens.push_back(open.back() + kinds);
      open.pop_back();
    }
  }
  return tokens;
}

bool is_balanced(const Tokens& tokens, std::int32_t kinds) {
  Tokens open;
  for (const std::int32_t token : tokens) {
    if (token <= kinds) {
      open.push_back(token);
    } else {
      if (open.empty() || open.back() + kinds != token) return false;
      open.pop_back();
    }
  }
  return open.empty();
}

/// Two brackets change places: the first and the last one, for instance, always spoil it.
void spoil(Tokens& tokens, std::int32_t kinds, RandomStream& random) {
  const auto place = [&] { return random.below(static_cast<std::uint32_t>(tokens.size())); };
  while (is_balanced(tokens, kinds)) {
    const std::uint32_t one = place();
    const std::uint32_t other = place();
    std::swap(tokens[one], tokens[other]);
  }
}

Dataset make(const BracketsData& parameters, std::int64_t examples, const char* purpose) {
  const std::int64_t length = 2 * parameters.pairs;
  const std::int64_t least =
      parameters.least_pairs == 0 ? parameters.pairs : parameters.least_pairs;
  const auto kinds = static_cast<std::int32_t>(parameters.kinds);
  Tensor sequence = allocate_tensor({ElementType::i32, {examples, length}}, "brackets");
  Tensor label = allocate_tensor({ElementType::i32, {examples}}, "brackets");
  RandomStream random(parameters.seed, purpose, 0);
  for (std::int64_t i = 0; i < examples; ++i) {
    const std::int64_t pairs =
        least + random.below(static_cast<std::uint32_t>(parameters.pairs - least + 1));
    Tokens tokens = balanced(pairs, kinds, random);
    if (i % 2 == 0) spoil(tokens, kinds, random);
    tokens.resize(static_cast<std::size_t>(length), 0);
    std::ranges::copy(tokens, sequence.as<std::int32_t>().begin() + length * i);
    label.as<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % 2);
  }
  return {"data source 'brackets'",
          {{"sequence", std::move(sequence)}, {"label", std::move(label)}}};
}

}  // namespace

DataSplits make_brackets(const BracketsData& parameters) {
  const auto check = [](const char* name, std::int64_t value, double low, double high) {
    check_data_parameter("brackets", name, static_cast<double>(value), low, high);
  };
  check("pairs", parameters.pairs, 1, 1e5);
  check("least_pairs", parameters.least_pairs, 0, static_cast<double>(parameters.pairs));
  check("kinds", parameters.kinds, 1, 1e6);
  check("examples", parameters.examples, 1, 1e9);
  check("test_examples", parameters.test_examples, 0, 1e9);
  return {make(parameters, parameters.examples, "brackets train"),
          make(parameters, parameters.test_examples, "brackets test")};
}

}  // namespace gradus::runtime
