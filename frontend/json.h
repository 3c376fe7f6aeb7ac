#pragma once

// JSON in which every value knows its place, so that every message can point at it.

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/diagnostic.h"

namespace gradus::frontend {

struct Member;

/// A JSON value. Numbers without fraction and exponent are integers.
struct Json {
  using Array = std::vector<Json>;
  using Object = std::vector<Member>;
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value;
  SourceLocation where;

  template <typename T>
  [[nodiscard]] const T* get() const {
    return std::get_if<T>(&value);
  }
  /// "an object", "the number 3.5", "the text \"relu\"": for messages.
  [[nodiscard]] std::string describe() const;
  /// The member's value; null when this is no object or has none of that name.
  [[nodiscard]] const Json* find(std::string_view key) const;
};

struct Member {
  std::string key;
  SourceLocation where;
  Json value;
};

/// Parses `text`; `file` names it in locations. Throws UserError E0101 (not JSON), E0102 (a key
/// twice), E0103 (nested deeper than 64), E0104 (a number out of range).
[[nodiscard]] Json parse_json(std::string_view text, const std::string& file);

/// Sets the value at a path such as "training.epochs" or "model.layers.0.units" from
/// "path=value"; the value is JSON, or else text, and null removes the key. Objects on the way are
/// made. What was set has the location "--set path=value". Throws UserError E0105 when the path
/// leads nowhere.
void apply_override(Json& json, std::string_view assignment);

}  // namespace gradus::frontend
