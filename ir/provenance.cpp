#include "ir/provenance.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace gradus::ir {
namespace {

bool before(const ProvenanceEntry& a, const ProvenanceEntry& b) {
  return std::tie(*a.origin, a.role) < std::tie(*b.origin, b.role);
}

}  // namespace

std::string_view to_string(Role role) {
  constexpr std::array<std::string_view, 4> names{"forward", "backward", "update", "metric"};
  return names[static_cast<std::size_t>(role)];
}

void Provenance::merge(const Provenance& other) {
  for (const ProvenanceEntry& entry : other.entries_) {
    const auto at = std::lower_bound(entries_.begin(), entries_.end(), entry, before);
    if (at == entries_.end() || before(entry, *at)) entries_.insert(at, entry);
  }
}

Provenance Provenance::with_role(Role role) const {
  Provenance result;
  for (const ProvenanceEntry& entry : entries_) result.merge({entry.origin, role});
  return result;
}

std::string to_string(const Provenance& provenance) {
  std::string text;
  for (const auto& [origin, role] : provenance.entries()) {
    if (!text.empty()) text += ", ";
    text += to_string(origin->where);
    if (!origin->layer.empty()) text += ' ' + origin->layer;
    text += ' ';
    text += to_string(role);
  }
  return text;
}

}  // namespace gradus::ir
