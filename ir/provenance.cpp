#include "ir/provenance.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
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
  if (entries_ == other.entries_ || other.empty()) return;
  if (empty()) {
    entries_ = other.entries_;
    return;
  }
  Entries merged;
  std::ranges::set_union(entries(), other.entries(), std::back_inserter(merged), before);
  if (merged.size() == entries().size()) return;
  entries_ = std::make_shared<const Entries>(std::move(merged));
}

Provenance Provenance::with_role(Role role) const {
  Provenance result;
  for (const ProvenanceEntry& entry : entries()) result.merge({entry.origin, role});
  return result;
}

std::string to_string(const Provenance& provenance) {
  std::string text;
  for (const auto& [origin, role] : provenance.entries()) {
    if (!text.empty()) text += ", ";
    text += to_string(origin->where, origin->uses);
    if (!origin->layer.empty()) text += ' ' + origin->layer;
    text += ' ';
    text += to_string(role);
  }
  return text;
}

SourceLocation first_place(const std::string& text) {
  // The first ":line:column" that ends a word: paths may have colons and spaces of their own.
  const char* end = text.data() + text.size();
  for (std::size_t colon = text.find(':'); colon != text.npos; colon = text.find(':', colon + 1)) {
    const std::size_t comma = text.rfind(", ", colon);
    const std::size_t begin = comma == text.npos ? 0 : comma + 2;
    SourceLocation place{text.substr(begin, colon - begin), 0, 0, 1};
    const auto line = std::from_chars(text.data() + colon + 1, end, place.line);
    if (line.ec != std::errc() || line.ptr == end || *line.ptr != ':') continue;
    const auto column = std::from_chars(line.ptr + 1, end, place.column);
    if (column.ec == std::errc() && (column.ptr == end || *column.ptr == ' ')) return place;
  }
  return {};
}

}  // namespace gradus::ir
