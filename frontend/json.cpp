#include "frontend/json.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/check.h"

namespace gradus::frontend {
namespace {

constexpr std::size_t kDepth = 64;

/// Finds the tokens of the text that the parser reports as events, one after another.
class Cursor {
 public:
  Cursor(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  SourceLocation next() {
    while (at_ < text_.size() && std::string_view(" \t\r\n,:").find(text_[at_]) != text_.npos) {
      advance();
    }
    SourceLocation where{file_, line_, column_, 1};
    const std::size_t begin = at_;
    if (at_ < text_.size() && text_[at_] == '"') {
      do {
        if (text_[at_] == '\\') advance();
        advance();
      } while (at_ < text_.size() && text_[at_] != '"');
      advance();
    } else if (at_ < text_.size() && std::string_view("{}[]").find(text_[at_]) != text_.npos) {
      advance();
    } else {
      while (at_ < text_.size() && std::string_view(" \t\r\n,:{}[]").find(text_[at_]) == text_.npos) {
        advance();
      }
    }
    where.length = static_cast<std::uint32_t>(at_ - begin);
    return where;
  }

  SourceLocation at_offset(std::size_t offset) {
    while (at_ < std::min(offset, text_.size())) advance();
    return {file_, line_, column_, 1};
  }

 private:
  void advance() {
    if (at_ >= text_.size()) return;
    if (text_[at_] == '\n') {
      ++line_;
      column_ = 0;
    }
    ++column_;
    ++at_;
  }

  std::string_view text_;
  std::string file_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
  std::uint32_t column_ = 1;
};

class Handler : public nlohmann::json_sax<nlohmann::json> {
 public:
  Handler(std::string_view text, const std::string& file)
      : cursor_(text, file), text_(text), file_(file) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(std::monostate{}); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(std::int64_t{value}); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(INT64_MAX)) {
      throw UserError("E0104", "the number is too large", cursor_.next());
    }
    return add(static_cast<std::int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::Object{}); }
  bool start_array(std::size_t) override { return open(Json::Array{}); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const SourceLocation where = cursor_.next();
    for (const Member& member : *std::get_if<Json::Object>(&open_.back()->value)) {
      if (member.key != name) continue;
      throw UserError("E0102", fmt::format("the key \"{}\" appears twice (first at line {})", name,
                                           member.where.line),
                      where, "keep one of them");
    }
    key_ = Member{std::move(name), where, {}};
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    std::string reason = error.what();
    if (const auto colon = reason.find("; "); colon != reason.npos) reason = reason.substr(colon + 2);
    else if (const auto bracket = reason.find("] "); bracket != reason.npos) {
      reason = reason.substr(bracket + 2);
    }
    const bool range = error.id == 406;
    Cursor cursor(text_, file_);
    throw UserError(range ? "E0104" : "E0101", range ? "the number is out of range" : "not JSON: " + reason,
                    cursor.at_offset(position == 0 ? 0 : position - 1));
  }

 private:
  template <typename Value>
  bool add(Value value) {
    place({std::move(value), cursor_.next()});
    return true;
  }

  Json* place(Json json) {
    if (open_.empty()) {
      root_ = std::move(json);
      return &root_;
    }
    if (auto* array = std::get_if<Json::Array>(&open_.back()->value)) {
      return &array->emplace_back(std::move(json));
    }
    key_.value = std::move(json);
    return &std::get_if<Json::Object>(&open_.back()->value)->emplace_back(std::move(key_)).value;
  }

  template <typename Container>
  bool open(Container container) {
    const SourceLocation where = cursor_.next();
    if (open_.size() >= kDepth) {
      throw UserError("E0103", fmt::format("nested deeper than {} levels", kDepth), where);
    }
    open_.push_back(place({std::move(container), where}));
    return true;
  }
  bool close() {
    (void)cursor_.next();
    open_.pop_back();
    return true;
  }

  Cursor cursor_;
  std::string_view text_;
  std::string file_;
  Json root_;
  Member key_;
  std::vector<Json*> open_;  // a container grows only while it is the last one open
};

Json* child(Json& json, const std::string& key, bool make) {
  if (auto* array = std::get_if<Json::Array>(&json.value)) {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (error != std::errc{} || end != key.data() + key.size() || index >= array->size()) {
      return nullptr;
    }
    return &(*array)[index];
  }
  auto* object = std::get_if<Json::Object>(&json.value);
  if (!object) return nullptr;
  for (Member& member : *object) {
    if (member.key == key) return &member.value;
  }
  if (!make) return nullptr;
  const SourceLocation where{"--set", 0, 0, 1};
  return &object->emplace_back(Member{key, where, {Json::Object{}, where}}).value;
}

void relocate(Json& json, const SourceLocation& where) {
  json.where = where;
  if (auto* array = std::get_if<Json::Array>(&json.value)) {
    for (Json& element : *array) relocate(element, where);
  } else if (auto* object = std::get_if<Json::Object>(&json.value)) {
    for (Member& member : *object) {
      member.where = where;
      relocate(member.value, where);
    }
  }
}

}  // namespace

std::string Json::describe() const {
  if (const bool* b = get<bool>()) return *b ? "true" : "false";
  if (const std::int64_t* i = get<std::int64_t>()) return fmt::format("the number {}", *i);
  if (const double* d = get<double>()) return fmt::format("the number {}", *d);
  if (const std::string* s = get<std::string>()) return fmt::format("the text \"{}\"", *s);
  if (get<Array>()) return "a list";
  if (get<Object>()) return "an object";
  return "null";
}

const Json* Json::find(std::string_view key) const {
  const Object* object = get<Object>();
  if (!object) return nullptr;
  for (const Member& member : *object) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

Json parse_json(std::string_view text, const std::string& file) {
  Handler handler(text, file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  return handler.take();
}

void apply_override(Json& json, std::string_view assignment) {
  const auto equals = assignment.find('=');
  const SourceLocation where{"--set " + std::string(assignment), 0, 0, 1};
  if (equals == assignment.npos || equals == 0) {
    throw UserError("E0105", "expected key.path=value", where);
  }
  Json* at = &json;
  std::string_view path = assignment.substr(0, equals);
  while (!path.empty()) {
    const auto dot = path.find('.');
    const std::string key(path.substr(0, dot));
    at = child(*at, key, true);
    if (!at) throw UserError("E0105", fmt::format("there is no '{}' to set", key), where);
    path = dot == path.npos ? std::string_view{} : path.substr(dot + 1);
  }
  const std::string text(assignment.substr(equals + 1));
  Json value{text, where};
  if (nlohmann::json::accept(text)) value = parse_json(text, where.file);
  relocate(value, where);
  *at = std::move(value);
}

}  // namespace gradus::frontend
