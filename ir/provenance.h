#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/diagnostic.h"

namespace gradus::ir {

enum class Role : std::uint8_t { forward, backward, update, metric };
[[nodiscard]] std::string_view to_string(Role role);

/// The JSON value that a node comes from.
struct Origin {
  SourceLocation where;
  std::string layer;    // path such as "encoder/block3/attention"
  BlockUses uses = {};  // of `where`
  friend auto operator<=>(const Origin&, const Origin&) = default;
};
using OriginPointer = std::shared_ptr<const Origin>;

struct ProvenanceEntry {
  OriginPointer origin;
  Role role = Role::forward;
};

/// Where a node comes from: a set, ordered by place, layer and role. Not part of identity. Copies
/// share their entries.
class Provenance {
 public:
  Provenance() = default;
  Provenance(OriginPointer origin, Role role)
      : entries_(std::make_shared<const Entries>(Entries{{std::move(origin), role}})) {}
  void merge(const Provenance& other);
  /// The same origins in another role.
  [[nodiscard]] Provenance with_role(Role role) const;
  [[nodiscard]] const std::vector<ProvenanceEntry>& entries() const {
    static const Entries none;
    return entries_ ? *entries_ : none;
  }
  [[nodiscard]] bool empty() const { return entries_ == nullptr; }

 private:
  using Entries = std::vector<ProvenanceEntry>;
  std::shared_ptr<const Entries> entries_;  // null: none
};

/// "model.json:9:7 hidden forward, model.json:12:7 (used at 40:7) top/dense forward".
[[nodiscard]] std::string to_string(const Provenance& provenance);
/// The first place with a line in such a text; line 0 where there is none.
[[nodiscard]] SourceLocation first_place(const std::string& text);

}  // namespace gradus::ir
