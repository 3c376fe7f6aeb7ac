#include "ir/attributes.h"

#include <bit>

#include "base/hash.h"
#include "base/overloaded.h"

namespace gradus::ir {

bool same_bits(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return false;
  if (const double* x = std::get_if<double>(&a)) {
    return std::bit_cast<std::uint64_t>(*x) == std::bit_cast<std::uint64_t>(std::get<double>(b));
  }
  if (const TensorPointer* x = std::get_if<TensorPointer>(&a)) {
    return **x == *std::get<TensorPointer>(b);
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
                     [](double number) { return hash_value(std::bit_cast<std::uint64_t>(number)); },
                     [](const std::string& text) { return hash_bytes(text.data(), text.size()); },
                     [](auto scalar) { return hash_value(static_cast<std::uint64_t>(scalar)); },
                 },
                 attribute);
  return hash_combine(attribute.index(), value);
}

void Attributes::set(std::string name, Attribute value) {
  for (auto& [key, current] : entries_) {
    if (key == name) {
      current = std::move(value);
      return;
    }
  }
  entries_.emplace_back(std::move(name), std::move(value));
}

std::size_t Attributes::hash() const {
  std::size_t seed = entries_.size();
  for (const auto& [key, value] : entries_) {
    seed = hash_combine(seed, hash_combine(hash_bytes(key.data(), key.size()), hash_bits(value)));
  }
  return seed;
}

bool operator==(const Attributes& a, const Attributes& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.entries_.size(); ++i) {
    if (a.entries_[i].first != b.entries_[i].first ||
        !same_bits(a.entries_[i].second, b.entries_[i].second)) {
      return false;
    }
  }
  return true;
}

}  // namespace gradus::ir
