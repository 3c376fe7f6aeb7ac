#include "frontend/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace gradus::frontend {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string closest(std::string_view word, std::span<const std::string> candidates) {
  std::string best;
  std::size_t distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t d = edit_distance(word, candidate);
    if (d < distance) {
      distance = d;
      best = candidate;
    }
  }
  return best;
}

void Findings::add(std::string code, std::string message, SourceLocation where, std::string hint) {
  list_.push_back({std::move(code), std::move(message), std::move(where), std::move(hint)});
}

void Findings::raise() {
  if (list_.empty()) return;
  std::stable_sort(list_.begin(), list_.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.where < b.where; });
  throw UserError(std::move(list_));
}

ObjectReader::ObjectReader(const Json* json, std::string what, Findings& findings)
    : json_(json), what_(std::move(what)), findings_(findings), read_{"comment"} {
  if (json_ && !json_->get<Json::Object>()) {
    findings_.add("E0203", fmt::format("{} must be an object, found {}", what_, json_->describe()),
                  json_->where);
    json_ = nullptr;
  }
}

SourceLocation ObjectReader::where() const { return json_ ? json_->where : SourceLocation{}; }

bool ObjectReader::has(std::string_view key) { return raw(key) != nullptr; }

const Json* ObjectReader::raw(std::string_view key) {
  read_.emplace(key);
  return json_ ? json_->find(key) : nullptr;
}

const Json* ObjectReader::required(std::string_view key) {
  const Json* json = raw(key);
  if (!json && json_) {
    findings_.add("E0202", fmt::format("{} needs \"{}\"", what_, key), json_->where);
  }
  return json;
}

void ObjectReader::wrong(const Json& json, std::string_view key, std::string_view expected) {
  findings_.add("E0203", fmt::format("\"{}\" of {} must be {}, found {}", key, what_, expected,
                                     json.describe()),
                json.where);
}

std::string ObjectReader::text(std::string_view key, std::string fallback) {
  const Json* json = raw(key);
  if (!json) return fallback;
  if (const std::string* text = json->get<std::string>()) return *text;
  wrong(*json, key, "a text");
  return fallback;
}

std::string ObjectReader::required_text(std::string_view key) {
  return required(key) ? text(key, "") : "";
}

double ObjectReader::number(std::string_view key, double fallback, NumberRange range) {
  const Json* json = raw(key);
  if (!json) return fallback;
  double value = fallback;
  if (const double* d = json->get<double>()) value = *d;
  else if (const std::int64_t* i = json->get<std::int64_t>()) value = static_cast<double>(*i);
  else wrong(*json, key, "a number");
  if (!(value >= range.least && value <= range.greatest)) {
    wrong(*json, key, fmt::format("from {} to {}", range.least, range.greatest));
    return fallback;
  }
  return value;
}

std::int64_t ObjectReader::integer(std::string_view key, std::int64_t fallback, std::int64_t least,
                                   std::int64_t greatest) {
  const Json* json = raw(key);
  if (!json) return fallback;
  const std::int64_t* value = json->get<std::int64_t>();
  if (value && *value >= least && *value <= greatest) return *value;
  wrong(*json, key, fmt::format("a whole number from {} to {}", least, greatest));
  return fallback;
}

bool ObjectReader::boolean(std::string_view key, bool fallback) {
  const Json* json = raw(key);
  if (!json) return fallback;
  if (const bool* value = json->get<bool>()) return *value;
  wrong(*json, key, "true or false");
  return fallback;
}

std::vector<std::int64_t> ObjectReader::integers(std::string_view key) {
  const Json* json = raw(key);
  std::vector<std::int64_t> result;
  if (!json) return result;
  const Json::Array* array = json->get<Json::Array>();
  bool good = array != nullptr;
  for (std::size_t i = 0; good && i < array->size(); ++i) {
    const std::int64_t* value = (*array)[i].get<std::int64_t>();
    good = value != nullptr;
    if (good) result.push_back(*value);
  }
  if (!good) wrong(*json, key, "a list of whole numbers");
  return result;
}

std::vector<std::string> ObjectReader::names(std::string_view key) {
  const Json* json = raw(key);
  std::vector<std::string> result;
  if (!json) return result;
  if (const std::string* one = json->get<std::string>()) return {*one};
  const Json::Array* array = json->get<Json::Array>();
  bool good = array != nullptr;
  for (std::size_t i = 0; good && i < array->size(); ++i) {
    const std::string* name = (*array)[i].get<std::string>();
    good = name != nullptr;
    if (good) result.push_back(*name);
  }
  if (!good) wrong(*json, key, "a name or a list of names");
  return result;
}

void ObjectReader::finish() {
  if (!json_) return;
  std::vector<std::string> known(read_.begin(), read_.end());
  for (const Member& member : *json_->get<Json::Object>()) {
    if (read_.contains(member.key)) continue;
    const std::string near = closest(member.key, known);
    findings_.add("E0201", fmt::format("unknown key \"{}\" in {}", member.key, what_), member.where,
                  near.empty() ? "" : fmt::format("did you mean \"{}\"?", near));
  }
}

}  // namespace gradus::frontend
