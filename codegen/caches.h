#pragma once

// The caches that schedules are made for.

#include <cstdint>

namespace gradus::codegen {

/// Bytes of a core's caches. Those of the smallest processors in use, not of this one: a plan is
/// the same on every machine.
inline constexpr std::int64_t kFirstCache = 32 * 1024;
inline constexpr std::int64_t kSecondCache = 1024 * 1024;

}  // namespace gradus::codegen
