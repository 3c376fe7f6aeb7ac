#pragma once

#include <cstddef>

namespace gradus {

/// `bytes` of memory, 64-byte aligned; large blocks are aligned to huge pages, which the system is
/// asked to use for them. Throws std::bad_alloc.
[[nodiscard]] void* allocate_aligned(std::size_t bytes);
/// Frees what allocate_aligned(bytes) gave.
void free_aligned(void* pointer, std::size_t bytes);

}  // namespace gradus
