#pragma once

#include <cstdint>

namespace gradus::runtime {

/// Physical cores that this process may use: its affinity mask, with the threads of one core
/// counted once, cut to the processor quota of its control group. At least 1.
[[nodiscard]] std::int64_t usable_cores();

}  // namespace gradus::runtime
