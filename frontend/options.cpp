#include "frontend/options.h"

#include "base/check.h"

namespace gradus::frontend {
namespace {

template <typename T>
const T& value_of(const Settings& settings, std::string_view name) {
  const Setting* setting = settings.find(name);
  const T* value = setting ? std::get_if<T>(&setting->value) : nullptr;
  GRADUS_CHECK(value != nullptr, "setting " + std::string(name));
  return *value;
}

Option make(std::string name, OptionKind kind, OptionValue value, std::string doc, Range range) {
  Option option;
  option.name = std::move(name);
  option.kind = kind;
  option.default_value = std::move(value);
  option.doc = std::move(doc);
  option.range = range;
  return option;
}

}  // namespace

void Settings::set(Setting setting) { entries_.push_back(std::move(setting)); }

const Setting* Settings::find(std::string_view name) const {
  for (const Setting& setting : entries_) {
    if (setting.name == name) return &setting;
  }
  return nullptr;
}

bool Settings::boolean(std::string_view name) const { return value_of<bool>(*this, name); }
std::int64_t Settings::integer(std::string_view name) const {
  return value_of<std::int64_t>(*this, name);
}
double Settings::number(std::string_view name) const { return value_of<double>(*this, name); }
const std::string& Settings::text(std::string_view name) const {
  return value_of<std::string>(*this, name);
}
const ir::Integers& Settings::integers(std::string_view name) const {
  return value_of<ir::Integers>(*this, name);
}
const Choice& Settings::choice(std::string_view name) const {
  return value_of<Choice>(*this, name);
}

Option boolean_option(std::string name, bool default_value, std::string doc) {
  return make(std::move(name), OptionKind::boolean, default_value, std::move(doc), {});
}
Option integer_option(std::string name, OptionValue default_value, std::string doc, Range range) {
  return make(std::move(name), OptionKind::integer, std::move(default_value), std::move(doc),
              range);
}
Option number_option(std::string name, OptionValue default_value, std::string doc, Range range) {
  return make(std::move(name), OptionKind::number, std::move(default_value), std::move(doc), range);
}
Option path_option(std::string name, OptionValue default_value, std::string doc) {
  Option option = text_option(std::move(name), std::move(default_value), std::move(doc));
  option.is_path = true;
  return option;
}

Option text_option(std::string name, OptionValue default_value, std::string doc) {
  return make(std::move(name), OptionKind::text, std::move(default_value), std::move(doc), {});
}
Option integers_option(std::string name, OptionValue default_value, std::string doc, Range range) {
  return make(std::move(name), OptionKind::integers, std::move(default_value), std::move(doc),
              range);
}
Option extents_option(std::string name, std::optional<std::int64_t> each, std::int64_t count,
                      std::string doc, Range range) {
  OptionValue value;
  if (each) value = ir::Integers(static_cast<std::size_t>(count), *each);
  Option option = integers_option(std::move(name), std::move(value), std::move(doc), range);
  option.count = count;
  return option;
}
Option choice_option(std::string name, OptionValue default_value, std::string doc,
                     std::vector<Alternative> alternatives) {
  Option option =
      make(std::move(name), OptionKind::choice, std::move(default_value), std::move(doc), {});
  option.alternatives = std::move(alternatives);
  return option;
}

Settings defaults_of(std::span<const Option> options, const SourceLocation& where) {
  Settings settings;
  for (const Option& option : options) {
    GRADUS_CHECK(option.default_value.index() != 0, "no default of " + option.name);
    if (option.kind != OptionKind::choice) {
      settings.set({option.name, option.default_value, where, false});
      continue;
    }
    const std::string& name = std::get<std::string>(option.default_value);
    for (const Alternative& alternative : option.alternatives) {
      if (alternative.name != name) continue;
      Choice choice{option.key, name, defaults_of(alternative.options, where)};
      settings.set({option.name, std::move(choice), where, false});
    }
  }
  return settings;
}

}  // namespace gradus::frontend
