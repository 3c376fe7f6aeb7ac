#pragma once

// What stages of a kernel need not compute: what is behind a border that no later stage reads
// across, and that adds to no result.

#include <cstdint>
#include <optional>
#include <vector>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// A stage may leave out what the half-plane does not admit. A loop with accumulations, which are
/// over its innermost axis, leaves out exactly that, and `constants` is what one left out position
/// adds to each: as often as there are any, or once. Without accumulations a loop, and register
/// tiles of a contraction, may compute more.
struct Unread {
  HalfPlane half_plane;
  std::vector<std::uint64_t> constants;  // words (ir/evaluate_scalar.h), by accumulation
};

/// By stage; empty where all is needed.
[[nodiscard]] std::vector<std::optional<Unread>> unread_parts(const Kernel& kernel);

}  // namespace gradus::codegen
