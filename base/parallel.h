#pragma once

#include <cstddef>
#include <functional>

namespace gradus {

/// Calls function(0), ..., function(count - 1) once each on up to `threads` threads, the caller's
/// among them; returns when all have returned. Of the exceptions thrown, the one of the smallest
/// number is thrown again.
void for_each_parallel(std::size_t count, int threads,
                       const std::function<void(std::size_t)>& function);

}  // namespace gradus
