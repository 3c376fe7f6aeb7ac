#pragma once

#include <map>

#include "passes/fuse.h"

namespace gradus::passes {

/// The group of all roots of `a` and `b`. Domain axes along which a root and what it reads run
/// together are one, so are reduced axes that read the same axis of the same leaf, unless a root
/// would then have one axis twice. `parallel` is empty: who merges decides it.
[[nodiscard]] Group unite(const Group& a, const Group& b, const std::map<ir::NodeId, Root>& roots);

}  // namespace gradus::passes
