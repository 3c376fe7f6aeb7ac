#include "bench/problem.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>

namespace gradus::bench {
namespace {

/// The parts of `text` between commas.
std::vector<std::string> alternatives(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// The problems of one line; none where it is empty.
std::vector<Problem> parse_line(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  if (!(words >> word)) return {};
  const std::string kind = word;
  std::vector<std::vector<std::pair<std::string, std::string>>> all(1);
  while (words >> word) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == word.size()) {
      throw ProblemError(fmt::format("expected key=value, found '{}'", word));
    }
    std::vector<std::vector<std::pair<std::string, std::string>>> extended;
    for (const auto& settings : all) {
      for (const std::string& value : alternatives(word.substr(equals + 1))) {
        extended.push_back(settings);
        extended.back().emplace_back(word.substr(0, equals), value);
      }
    }
    all = std::move(extended);
  }
  std::vector<Problem> problems;
  for (auto& settings : all) problems.emplace_back(kind, std::move(settings));
  return problems;
}

}  // namespace

std::string Problem::name() const {
  std::string name = kind_;
  for (const auto& [key, value] : settings_) name += fmt::format(" {}={}", key, value);
  return name;
}

const std::string* Problem::find(std::string_view key) const {
  for (const auto& [known, value] : settings_) {
    if (known == key) return &value;
  }
  return nullptr;
}

const std::string& Problem::text(std::string_view key) const {
  if (const std::string* value = find(key)) return *value;
  throw ProblemError(fmt::format("'{}' needs {}", name(), key));
}

std::string Problem::text(std::string_view key, std::string_view otherwise) const {
  const std::string* value = find(key);
  return value != nullptr ? *value : std::string(otherwise);
}

std::int64_t Problem::integer(std::string_view key) const {
  const std::string& value = text(key);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size() || number < 1) {
    throw ProblemError(fmt::format("{} of '{}' is no number of at least 1", key, name()));
  }
  return number;
}

std::int64_t Problem::integer(std::string_view key, std::int64_t otherwise) const {
  return find(key) != nullptr ? integer(key) : otherwise;
}

Problem Problem::with(std::string_view key, std::int64_t value) const {
  Problem changed = *this;
  for (auto& [known, text] : changed.settings_) {
    if (known == key) text = std::to_string(value);
  }
  return changed;
}

std::vector<Problem> parse_problems(std::string_view text, std::string_view file) {
  std::vector<Problem> problems;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    try {
      for (Problem& problem : parse_line(line.substr(0, line.find('#')))) {
        problems.push_back(std::move(problem));
      }
    } catch (const ProblemError& error) {
      throw ProblemError(fmt::format("{}:{}: {}", file, number, error.what()));
    }
  }
  return problems;
}

}  // namespace gradus::bench
