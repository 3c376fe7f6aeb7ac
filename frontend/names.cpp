#include "frontend/names.h"

#include <fmt/format.h>

#include <algorithm>

namespace gradus::frontend {
namespace {

/// Parameters are "<layer>/<parameter>", layers of blocks "<instance>/<layer>", and paths of
/// overrides have dots only between keys.
bool well_formed(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '/';
  });
}
bool is_counter(std::string_view name) { return name == "seed" || name == "step"; }

}  // namespace

void Names::announce(std::string name, SourceLocation where) {
  announced_.push_back({std::move(name), std::move(where)});
}

void Names::check_form(const std::string& name, const SourceLocation& where) {
  if (well_formed(name) && !is_counter(name)) return;
  findings_.add("E0203",
                fmt::format("\"{}\" cannot be a name: {}", name,
                            is_counter(name) ? "it is that of a counter"
                                             : "names have letters, digits, '_', '-' and '/'"),
                where);
}

void Names::declare(const std::string& name, const SourceLocation& where) {
  check_form(name, where);
  const auto [known, added] = declared_.emplace(name, where);
  if (added) return;
  findings_.add("E0208",
                fmt::format("the name \"{}\" is taken (line {})", name, known->second.line), where,
                "give each layer its own \"name\"");
}

void Names::stand_for(std::string name, std::string layer) {
  uses_.emplace(std::move(name), std::move(layer));
}

void Names::resolve(Reference& reference) {
  const auto use = uses_.find(reference.name);
  if (use != uses_.end() && declared_.contains(use->second)) reference.name = use->second;
  if (is_counter(reference.name) || declared_.contains(reference.name)) return;
  std::vector<std::string> known;
  for (const auto& [name, where] : declared_) known.push_back(name);
  for (const auto& [name, layer] : uses_) known.push_back(name);
  std::string hint = suggestion(reference.name, known);
  const auto below = std::ranges::find(announced_, reference.name, &Reference::name);
  if (below != announced_.end()) {
    hint = fmt::format("\"{}\" stands at line {}; a layer reads what is above it", reference.name,
                       below->where.line);
  }
  findings_.add("E0207", fmt::format("there is no input or layer \"{}\" above", reference.name),
                reference.where, hint);
}

}  // namespace gradus::frontend
