#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/tensor.h"

namespace gradus::runtime {

/// A block of memory that starts on a cache line.
using AlignedBytes = std::vector<std::byte, AlignedAllocator<std::byte>>;

/// `bytes` zeroed bytes; throws UserError E5001 naming `purpose` and the size when there is no
/// room.
[[nodiscard]] AlignedBytes allocate(std::int64_t bytes, std::string_view purpose);

/// A zeroed tensor; throws as `allocate` does.
[[nodiscard]] Tensor allocate_tensor(TensorType type, std::string_view purpose);

}  // namespace gradus::runtime
