#include "ir/attributes.h"

#include <algorithm>
#include <bit>

#include "base/hash.h"
#include "base/overloaded.h"
#include "ir/graph.h"

namespace gradus::ir {

bool same_bits(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return false;
  if (const double* x = std::get_if<double>(&a)) {
    return std::bit_cast<std::uint64_t>(*x) == std::bit_cast<std::uint64_t>(std::get<double>(b));
  }
  if (const TensorPointer* x = std::get_if<TensorPointer>(&a)) {
    return **x == *std::get<TensorPointer>(b);
  }
  if (const GraphPointer* x = std::get_if<GraphPointer>(&a)) {
    return same_structure(**x, *std::get<GraphPointer>(b));
  }
  return a == b;
}

std::size_t hash_bits(const Attribute& attribute) {
  const std::size_t value =
      std::visit(overloaded{
                     [](const Integers& list) { return hash_range(list); },
                     [](const TensorPointer& tensor) {
                       return hash_combine(hash_bytes(tensor->bytes.data(), tensor->bytes.size()),
                                           hash_range(tensor->type.shape));
                     },
                     [](const GraphPointer& graph) { return graph->hash(); },
                     [](double number) { return hash_value(std::bit_cast<std::uint64_t>(number)); },
                     [](const std::string& text) { return hash_bytes(text.data(), text.size()); },
                     [](auto scalar) { return hash_value(static_cast<std::uint64_t>(scalar)); },
                 },
                 attribute);
  return hash_combine(attribute.index(), value);
}

Attributes::Attributes(Entries entries) {
  if (entries.empty()) return;
  std::size_t hash = entries.size();
  for (const auto& [key, value] : entries) {
    hash = hash_combine(hash, hash_combine(hash_bytes(key.data(), key.size()), hash_bits(value)));
  }
  shared_ = std::make_shared<const Shared>(Shared{std::move(entries), hash});
}

void Attributes::set(std::string name, Attribute value) {
  Entries changed = entries();
  const auto at = std::ranges::find(changed, name, &Entries::value_type::first);
  if (at != changed.end()) {
    at->second = std::move(value);
  } else {
    changed.emplace_back(std::move(name), std::move(value));
  }
  *this = Attributes(std::move(changed));
}

void Attributes::fail(std::string_view name) {
  throw InternalError("attribute " + std::string(name));
}

bool operator==(const Attributes& a, const Attributes& b) {
  if (a.shared_ == b.shared_) return true;
  if (a.hash() != b.hash()) return false;
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) {
    return x.first == y.first && same_bits(x.second, y.second);
  });
}

}  // namespace gradus::ir
