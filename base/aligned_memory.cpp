#include "base/aligned_memory.h"

#include <sys/mman.h>

#include <new>

namespace gradus {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::align_val_t alignment_of(std::size_t bytes) {
  return std::align_val_t{bytes >= 2 * kHugePage ? kHugePage : kCacheLine};
}

}  // namespace

void* allocate_aligned(std::size_t bytes) {
  void* pointer = ::operator new(bytes, alignment_of(bytes));
#ifdef MADV_HUGEPAGE
  // Kernels walk many rows at once: with small pages address translation is a cost of its own.
  if (bytes >= 2 * kHugePage) ::madvise(pointer, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return pointer;
}

void free_aligned(void* pointer, std::size_t bytes) {
  ::operator delete(pointer, alignment_of(bytes));
}

}  // namespace gradus
