#pragma once

// Options as data: what a layer, a loss, an optimizer or a data source may be told, and what it was
// told. The checker, the resolved file and the reference page follow from these records.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/diagnostic.h"
#include "ir/attributes.h"

namespace gradus::frontend {

struct Setting;

/// The value of every option of something, in the order of its records.
class Settings {
 public:
  void set(Setting setting);
  /// Null when there is none of that name.
  [[nodiscard]] const Setting* find(std::string_view name) const;
  [[nodiscard]] const std::vector<Setting>& entries() const { return entries_; }

  // The value of that name; throws InternalError when absent or of another kind.
  [[nodiscard]] bool boolean(std::string_view name) const;
  [[nodiscard]] std::int64_t integer(std::string_view name) const;
  [[nodiscard]] double number(std::string_view name) const;
  [[nodiscard]] const std::string& text(std::string_view name) const;
  [[nodiscard]] const ir::Integers& integers(std::string_view name) const;
  [[nodiscard]] const struct Choice& choice(std::string_view name) const;

 private:
  std::vector<Setting> entries_;
};

/// One of several named things, with its own settings: {"function": "normal", "deviation": 0.1}.
struct Choice {
  std::string key;  // "function"
  std::string name;
  Settings settings;
};

/// An extent that stands for the batch size: "batch" in a list of whole numbers.
inline constexpr std::int64_t kBatchExtent = INT64_MIN;

using OptionValue = std::variant<std::monostate, bool, std::int64_t, double, std::string,
                                 ir::Integers, ir::TensorPointer, Choice>;

struct Setting {
  std::string name;
  OptionValue value;
  SourceLocation where;  // of the value, or of what it belongs to when it was not given
  bool given = false;
};

enum class OptionKind : std::uint8_t { boolean, integer, number, text, integers, tensor, choice };

/// Numbers from `least` to `greatest`, which `open` excludes.
struct Range {
  double least = -1e300;
  double greatest = 1e300;
  bool open = false;
};

struct Alternative;

struct Option {
  std::string name;
  OptionKind kind;
  OptionValue default_value;  // monostate: required; of a choice: the name
  std::string doc;
  Range range = {};                       // of a number, or of every number of a list
  bool batch_extent = false;              // a list's number may be "batch"
  std::int64_t count = 0;                 // of a list: its length, and a number stands for as many
  std::vector<Alternative> alternatives;  // of a choice
  std::string key = "function";           // of a choice: what names it in an object
  std::string shorthand;  // of a choice: a bare number sets this option of the first
  bool is_path = false;   // a text: of a file or folder, which may be moved
};

/// One of several things to choose from.
struct Alternative {
  std::string name;
  std::string doc;
  std::vector<Option> options;
};

/// The largest whole number that an option takes, far below overflow.
inline constexpr double kWhole = 1e12;

[[nodiscard]] Option boolean_option(std::string name, bool default_value, std::string doc);
[[nodiscard]] Option integer_option(std::string name, OptionValue default_value, std::string doc,
                                    Range range);
[[nodiscard]] Option number_option(std::string name, OptionValue default_value, std::string doc,
                                   Range range);
[[nodiscard]] Option text_option(std::string name, OptionValue default_value, std::string doc);
/// A text: the path of a file or folder.
[[nodiscard]] Option path_option(std::string name, OptionValue default_value, std::string doc);
[[nodiscard]] Option integers_option(std::string name, OptionValue default_value, std::string doc,
                                     Range range);
/// A list of `count` whole numbers, or one that stands for all of them; `each` is the default.
[[nodiscard]] Option extents_option(std::string name, std::optional<std::int64_t> each,
                                    std::int64_t count, std::string doc, Range range);
[[nodiscard]] Option choice_option(std::string name, OptionValue default_value, std::string doc,
                                   std::vector<Alternative> alternatives);

/// Default settings of `options`, all of which have one.
[[nodiscard]] Settings defaults_of(std::span<const Option> options, const SourceLocation& where);

}  // namespace gradus::frontend
