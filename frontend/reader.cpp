#include "frontend/reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
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

std::string describe(const Range& range, bool whole) {
  const std::string kind = whole ? "a whole number" : "a number";
  const double limit = whole ? kWhole : 1e30;
  const bool below = range.least > -limit;
  const bool above = range.greatest < limit;
  const std::string_view to = range.open ? "less than" : "at most";
  if (below && above && !range.open) {
    return fmt::format("{} from {} to {}", kind, range.least, range.greatest);
  }
  if (below && above)
    return fmt::format("{}, at least {} and less than {}", kind, range.least, range.greatest);
  if (below) return fmt::format("{}, at least {}", kind, range.least);
  if (above) return fmt::format("{}, {} {}", kind, to, range.greatest);
  return kind;
}

bool inside(const Range& range, double value) {
  return value >= range.least && (range.open ? value < range.greatest : value <= range.greatest);
}

/// The numbers of nested lists of equal lengths, row-major; false when it is not of that form.
bool collect(const Json& json, std::size_t axis, Shape& shape, std::vector<float>& values) {
  if (const auto* array = json.get<Json::Array>()) {
    const auto extent = static_cast<std::int64_t>(array->size());
    if (axis == shape.size() && values.empty()) shape.push_back(extent);
    if (axis >= shape.size() || shape[axis] != extent) return false;
    return std::ranges::all_of(
        *array, [&](const Json& element) { return collect(element, axis + 1, shape, values); });
  }
  if (axis != shape.size()) return false;
  if (const auto* number = json.get<double>())
    values.push_back(static_cast<float>(*number));
  else if (const auto* whole = json.get<std::int64_t>())
    values.push_back(static_cast<float>(*whole));
  else
    return false;
  return std::isfinite(values.back());
}

}  // namespace

std::string closest(std::string_view word, std::span<const std::string> candidates) {
  std::string best;
  std::size_t distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t d = edit_distance(word, candidate);
    if (d < distance && d < std::max(word.size(), candidate.size())) {
      distance = d;
      best = candidate;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, std::span<const std::string> candidates) {
  const std::string near = closest(word, candidates);
  if (!near.empty()) return fmt::format("did you mean \"{}\"?", near);
  if (candidates.empty() || candidates.size() > 12) return "";
  return fmt::format("known: {}", fmt::join(candidates, ", "));
}

void Findings::add(std::string code, std::string message, SourceLocation where, std::string hint) {
  Diagnostic found{std::move(code), std::move(message), std::move(where), std::move(hint), uses_};
  const auto is_same = [&](const Diagnostic& other) {
    return !other.uses.empty() && found.where == other.where && found.code == other.code &&
           found.message == other.message && found.hint == other.hint;
  };
  if (const auto known = std::ranges::find_if(list_, is_same); known != list_.end()) {
    ++known->other_uses;
  } else {
    list_.push_back(std::move(found));
  }
}

void Findings::raise() {
  if (list_.empty()) return;
  std::stable_sort(list_.begin(), list_.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.where < b.where; });
  throw UserError(std::move(list_));
}

ObjectReader::ObjectReader(const Json* json, std::string what, Findings& findings)
    : json_(json), what_(std::move(what)), findings_(findings), read_{"comment"} {
  if (json_) where_ = json_->where;
  if (json_ && !json_->get<Json::Object>()) {
    findings_.add("E0203", fmt::format("{} must be an object, found {}", what_, json_->describe()),
                  json_->where);
    json_ = nullptr;
  }
}

const Json* ObjectReader::raw(std::string_view key) {
  read_.emplace(key);
  return json_ ? json_->find(key) : nullptr;
}

const Json* ObjectReader::required(std::string_view key) {
  const Json* json = raw(key);
  if (!json && json_) findings_.add("E0202", fmt::format("{} needs \"{}\"", what_, key), where_);
  return json;
}

void ObjectReader::wrong(const Json& json, std::string_view key, std::string_view expected) {
  findings_.add(
      "E0203",
      fmt::format("\"{}\" of {} must be {}, found {}", key, what_, expected, json.describe()),
      json.where);
}

std::string ObjectReader::text(std::string_view key, std::string fallback) {
  const Json* json = raw(key);
  if (!json) return fallback;
  if (const std::string* text = json->get<std::string>(); text && !text->empty()) return *text;
  wrong(*json, key, "a text");
  return fallback;
}

std::string ObjectReader::required_text(std::string_view key) {
  return required(key) ? text(key, "") : "";
}

double ObjectReader::number(std::string_view key, double fallback, Range range) {
  const Option option = number_option(std::string(key), fallback, "", range);
  return settings({&option, 1}).number(key);
}

std::vector<Reference> ObjectReader::references(std::string_view key) {
  const Json* json = raw(key);
  std::vector<Reference> result;
  if (!json) return result;
  if (const std::string* one = json->get<std::string>()) return {{*one, json->where}};
  const Json::Array* array = json->get<Json::Array>();
  bool good = array && !array->empty();
  for (std::size_t i = 0; good && i < array->size(); ++i) {
    const std::string* name = (*array)[i].get<std::string>();
    good = name != nullptr;
    if (good) result.push_back({*name, (*array)[i].where});
  }
  if (!good) wrong(*json, key, "a name or a list of names");
  return result;
}

Settings ObjectReader::settings(std::span<const Option> options) {
  Settings result;
  for (const Option& option : options) {
    const bool has_default = option.default_value.index() != 0;
    const Json* json = has_default ? raw(option.name) : required(option.name);
    OptionValue value;
    if (json) value = read(option, *json);
    if (value.index() != 0) {
      result.set({option.name, std::move(value), json->where, true});
    } else if (has_default) {
      result.set(defaults_of({&option, 1}, where_).entries().front());
    }
  }
  return result;
}

/// Monostate when the value is wrong, which is reported.
OptionValue ObjectReader::read(const Option& option, const Json& json) {
  switch (option.kind) {
    case OptionKind::boolean:
      if (const bool* value = json.get<bool>()) return *value;
      wrong(json, option.name, "true or false");
      return {};
    case OptionKind::text:
      if (const std::string* value = json.get<std::string>();
          value && (!value->empty() || option.default_value.index() != 0)) {
        return *value;
      }
      wrong(json, option.name, "a text");
      return {};
    case OptionKind::integer:
    case OptionKind::number:
      return read_number(option, json);
    case OptionKind::integers:
      return read_integers(option, json);
    case OptionKind::tensor:
      return read_tensor(option, json);
    case OptionKind::choice:
      break;
  }
  return read_choice(option, json);
}

OptionValue ObjectReader::read_number(const Option& option, const Json& json) {
  const bool whole = option.kind == OptionKind::integer;
  const std::int64_t* integer = json.get<std::int64_t>();
  const double* number = json.get<double>();
  if (integer && inside(option.range, static_cast<double>(*integer))) {
    if (whole) return *integer;
    return static_cast<double>(*integer);
  }
  if (number && !whole && inside(option.range, *number)) return *number;
  // A limit that `describe` leaves out, since nobody comes near, is told where it is passed.
  const bool passed = whole && integer && option.range.greatest >= kWhole &&
                      static_cast<double>(*integer) > option.range.greatest;
  wrong(json, option.name,
        passed ? fmt::format("at most {}", option.range.greatest) : describe(option.range, whole));
  return {};
}

OptionValue ObjectReader::read_integers(const Option& option, const Json& json) {
  const Json::Array* array = json.get<Json::Array>();
  const std::string each =
      fmt::format("{}{}", describe(option.range, true), option.batch_extent ? " or \"batch\"" : "");
  if (const std::int64_t* all = json.get<std::int64_t>();
      option.count > 0 && all && inside(option.range, static_cast<double>(*all))) {
    return ir::Integers(static_cast<std::size_t>(option.count), *all);
  }
  const bool fits =
      array && (option.count == 0 || static_cast<std::int64_t>(array->size()) == option.count);
  if (!fits) {
    wrong(json, option.name,
          option.count > 0 ? fmt::format("{}, or a list of {}", each, option.count)
                           : "a list, each element " + each);
    return {};
  }
  ir::Integers result;
  for (const Json& element : *array) {
    const std::int64_t* value = element.get<std::int64_t>();
    const std::string* text = element.get<std::string>();
    if (option.batch_extent && text && *text == "batch") {
      result.push_back(kBatchExtent);
    } else if (value && inside(option.range, static_cast<double>(*value))) {
      result.push_back(*value);
    } else {
      wrong(element, option.name, "a list, each element " + each);
      return {};
    }
  }
  return result;
}

OptionValue ObjectReader::read_tensor(const Option& option, const Json& json) {
  Shape shape;
  std::vector<float> values;
  if (!collect(json, 0, shape, values) ||
      element_count(shape) != static_cast<std::int64_t>(values.size())) {
    wrong(json, option.name, "a number or lists of numbers of equal lengths");
    return {};
  }
  Tensor tensor({ElementType::f32, shape});
  std::ranges::copy(values, tensor.as<float>().begin());
  return std::make_shared<const Tensor>(std::move(tensor));
}

OptionValue ObjectReader::read_choice(const Option& option, const Json& json) {
  const bool number = json.get<double>() || json.get<std::int64_t>();
  if (number && !option.shorthand.empty()) {
    const Alternative& first = option.alternatives.front();
    Choice choice{option.key, first.name, {}};
    for (const Option& own : first.options) {
      OptionValue value = own.name == option.shorthand ? read(own, json) : own.default_value;
      if (value.index() == 0) return {};
      choice.settings.set({own.name, std::move(value), json.where, own.name == option.shorthand});
    }
    return choice;
  }
  if (json.get<Json::Object>()) {
    ObjectReader own(&json, fmt::format("\"{}\"", option.name), findings_);
    Choice choice = own.alternative(option.key, option.name, option.alternatives);
    own.finish();
    if (choice.name.empty()) return {};
    return choice;
  }
  const std::string* name = json.get<std::string>();
  if (!name) {
    wrong(json, option.name,
          fmt::format("{}a name or an object with \"{}\"",
                      option.shorthand.empty() ? "" : "a number, ", option.key));
    return {};
  }
  const auto found = std::ranges::find(option.alternatives, *name, &Alternative::name);
  if (found == option.alternatives.end()) {
    findings_.add("E0205", fmt::format("unknown {} \"{}\"", option.name, *name), json.where,
                  suggestion(*name, names_of(option.alternatives)));
    return {};
  }
  for (const Option& own : found->options) {
    if (own.default_value.index() != 0) continue;
    findings_.add(
        "E0202", fmt::format("{} needs \"{}\"", *name, own.name), json.where,
        fmt::format("write {{ \"{}\": \"{}\", \"{}\": ... }}", option.key, *name, own.name));
    return {};
  }
  return Choice{option.key, *name, defaults_of(found->options, json.where)};
}

Choice ObjectReader::alternative(const std::string& key, std::string_view kind,
                                 std::span<const Alternative> alternatives) {
  const std::string name = required_text(key);
  const auto found = std::ranges::find(alternatives, name, &Alternative::name);
  if (found == alternatives.end()) {
    if (!name.empty()) {
      findings_.add("E0205", fmt::format("unknown {} \"{}\"", kind, name), raw(key)->where,
                    suggestion(name, names_of(alternatives)));
    }
    abandon();
    return {};
  }
  what_ = name;
  return {key, name, settings(found->options)};
}

void ObjectReader::finish() {
  if (!json_) return;
  const std::vector<std::string> known(read_.begin(), read_.end());
  for (const Member& member : *json_->get<Json::Object>()) {
    if (read_.contains(member.key)) continue;
    const std::string near = closest(member.key, known);
    findings_.add("E0201", fmt::format("unknown key \"{}\" in {}", member.key, what_), member.where,
                  near.empty() ? "" : fmt::format("did you mean \"{}\"?", near));
  }
}

}  // namespace gradus::frontend
