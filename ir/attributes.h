#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.h"
#include "base/tensor.h"

namespace gradus::ir {

using gradus::to_string;  // of types and shapes, beside this namespace's own

using Integers = std::vector<std::int64_t>;
/// The value of a constant; never null.
using TensorPointer = std::shared_ptr<const Tensor>;
class Graph;
/// The body of a loop; never null, and never changed.
using GraphPointer = std::shared_ptr<const Graph>;

using Attribute = std::variant<bool, std::int64_t, double, std::string, Integers, ElementType,
                               TensorPointer, GraphPointer>;

/// The kinds of attribute in the order of the variant's alternatives.
enum class AttributeKind : std::uint8_t {
  boolean,
  integer,
  number,
  text,
  integers,
  element_type,
  tensor,
  graph,
};

/// Equality of bits for numbers and tensors, of structure for graphs.
[[nodiscard]] bool same_bits(const Attribute& a, const Attribute& b);
[[nodiscard]] std::size_t hash_bits(const Attribute& attribute);

/// The attributes of a node by name, in the order of the op's schema. Copies share their entries.
class Attributes {
 public:
  using Entries = std::vector<std::pair<std::string, Attribute>>;

  Attributes() = default;
  Attributes(std::initializer_list<Entries::value_type> entries) : Attributes(Entries(entries)) {}
  explicit Attributes(Entries entries);

  [[nodiscard]] const Attribute* find(std::string_view name) const {
    for (const auto& [key, value] : entries()) {
      if (key == name) return &value;
    }
    return nullptr;
  }
  /// The attribute's value; throws InternalError when absent or of another kind.
  template <typename T>
  [[nodiscard]] const T& get(std::string_view name) const {
    const Attribute* attribute = find(name);
    const T* value = attribute ? std::get_if<T>(attribute) : nullptr;
    if (value == nullptr) fail(name);
    return *value;
  }
  void set(std::string name, Attribute value);

  [[nodiscard]] auto begin() const { return entries().begin(); }
  [[nodiscard]] auto end() const { return entries().end(); }
  [[nodiscard]] std::size_t size() const { return entries().size(); }
  [[nodiscard]] std::size_t hash() const { return shared_ ? shared_->hash : 0; }
  friend bool operator==(const Attributes& a, const Attributes& b);

 private:
  struct Shared {
    Entries entries;
    std::size_t hash = 0;
  };

  [[nodiscard]] const Entries& entries() const {
    static const Entries none;
    return shared_ ? shared_->entries : none;
  }
  [[noreturn]] static void fail(std::string_view name);

  std::shared_ptr<const Shared> shared_;  // null: no attributes
};

}  // namespace gradus::ir
