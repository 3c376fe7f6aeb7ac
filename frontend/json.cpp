#include "frontend/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace gradus::frontend {
namespace {

constexpr std::size_t kDepth = 64;

/// Walks over the text, counting lines and columns; a column is one code point.
class Cursor {
 public:
  Cursor(std::string_view text, const std::string& file) : text_(text), where_{file, 1, 1, 1} {
    if (text.starts_with("\xEF\xBB\xBF")) at_ = 3;  // a byte-order mark
  }

  /// The place of the next token that the parser reports as an event. The text up to its end has
  /// been accepted, so the shape of a token follows from its first character.
  SourceLocation next() {
    skip(" \t\r\n,:", true);
    SourceLocation token = where_;
    const char first = at_ < text_.size() ? text_[at_] : '\0';
    if (first == '"') {
      advance();
      while (at_ < text_.size() && text_[at_] != '"') {
        if (text_[at_] == '\\') advance();
        advance();
      }
      advance();
    } else if (std::string_view("{}[]").find(first) != std::string_view::npos) {
      advance();
    } else {
      skip(" \t\r\n,:{}[]\"", false);
    }
    token.length = std::max(where_.column - token.column, 1u);
    return token;
  }

  SourceLocation at_offset(std::size_t offset) {
    while (at_ < std::min(offset, text_.size())) advance();
    return where_;
  }

 private:
  /// Goes on while the characters are of the set (or while they are not).
  void skip(std::string_view set, bool member) {
    while (at_ < text_.size() && (set.find(text_[at_]) != set.npos) == member) advance();
  }

  void advance() {
    if (at_ >= text_.size()) return;
    const char c = text_[at_++];
    if (c == '\n') {
      ++where_.line;
      where_.column = 1;
    } else if (at_ == text_.size() || (static_cast<unsigned char>(text_[at_]) & 0xC0) != 0x80) {
      ++where_.column;  // the next byte begins a code point
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  SourceLocation where_;
};

/// What the parser found, without its prefix and without the bytes that it read last.
std::string reason_of(const nlohmann::detail::exception& error) {
  std::string text = error.what();
  if (const auto place = text.find(" - "); place != text.npos)
    text = text.substr(place + 3);
  else if (const auto prefix = text.find("] "); prefix != text.npos)
    text = text.substr(prefix + 2);
  if (const auto read = text.find("; last read: "); read != text.npos) {
    const auto expected = text.find("; expected ", read);
    text = text.substr(0, read) + (expected == text.npos ? "" : text.substr(expected));
  }
  return text;
}

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
      throw out_of_range(cursor_.next());
    }
    return add(static_cast<std::int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t& digits) override {
    const SourceLocation where = cursor_.next();
    // The parser turns integers of more than 64 bits into f64; here they are an error.
    if (digits.find_first_of(".eE") == digits.npos) throw out_of_range(where);
    place({value, where});
    return true;
  }
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
      throw UserError(
          "E0102",
          fmt::format("the key \"{}\" appears twice (first at line {})", name, member.where.line),
          where, "keep one of them");
    }
    key_ = Member{std::move(name), where, {}};
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    Cursor cursor(text_, file_);
    const SourceLocation where = cursor.at_offset(position == 0 ? 0 : position - 1);
    if (error.id == 406) throw out_of_range(where);
    throw UserError("E0101", "not JSON: " + reason_of(error), where);
  }

 private:
  template <typename Value>
  bool add(Value value) {
    place({std::move(value), cursor_.next()});
    return true;
  }

  static UserError out_of_range(const SourceLocation& where) {
    return {"E0104", "the number is out of range: integers have 64 bits, others are finite f64",
            where};
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

/// The element or member; a missing member is made, a missing element is null.
Json* child(Json& json, const std::string& key, const SourceLocation& where) {
  if (auto* array = std::get_if<Json::Array>(&json.value)) {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
    const bool whole = error == std::errc{} && end == key.data() + key.size();
    return whole && index < array->size() ? &(*array)[index] : nullptr;
  }
  auto* object = std::get_if<Json::Object>(&json.value);
  if (!object || key.empty()) return nullptr;
  for (Member& member : *object) {
    if (member.key == key) return &member.value;
  }
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

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> keys(1);
  for (char c : path) {
    if (c == '.')
      keys.emplace_back();
    else
      keys.back() += c;
  }
  return keys;
}

}  // namespace

std::string Json::describe() const {
  if (const bool* b = get<bool>()) return *b ? "true" : "false";
  if (const std::int64_t* i = get<std::int64_t>()) return fmt::format("the number {}", *i);
  if (const double* d = get<double>()) return fmt::format("the number {}", *d);
  if (const std::string* s = get<std::string>()) return fmt::format("the text \"{}\"", *s);
  if (const Array* list = get<Array>()) return list->empty() ? "an empty list" : "a list";
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
  // The parser takes a zero byte for the end and would ignore what follows.
  if (const auto zero = text.find('\0'); zero != text.npos) {
    throw UserError("E0101", "not JSON: a zero byte", Cursor(text, file).at_offset(zero));
  }
  Handler handler(text, file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  return handler.take();
}

void apply_override(Json& json, std::string_view assignment) {
  const auto equals = assignment.find('=');
  const SourceLocation where{fmt::format("--set {}", assignment), 0, 0, 1};
  if (equals == assignment.npos || equals == 0) {
    throw UserError("E0105", "expected key.path=value", where);
  }
  const std::string text(assignment.substr(equals + 1));
  Json value{text, where};
  if (nlohmann::json::accept(text)) value = parse_json(text, where.file);
  relocate(value, where);
  const bool remove = std::holds_alternative<std::monostate>(value.value);
  const std::vector<std::string> path = split_path(assignment.substr(0, equals));
  Json* at = &json;
  for (std::size_t i = 0; i < path.size(); ++i) {
    auto* object = std::get_if<Json::Object>(&at->value);
    if (remove && object && i + 1 == path.size()) {
      std::erase_if(*object, [&](const Member& member) { return member.key == path[i]; });
      return;
    }
    at = child(*at, path[i], where);
    if (!at) {
      throw UserError("E0105",
                      fmt::format("there is no '{}' to set in {}", path[i],
                                  i == 0 ? "the file" : "'" + path[i - 1] + "'"),
                      where);
    }
  }
  *at = std::move(value);
}

}  // namespace gradus::frontend
