#include "runtime/memory.h"

#include <fmt/format.h>

#include <new>
#include <stdexcept>

#include "base/diagnostic.h"

namespace gradus::runtime {
namespace {

constexpr std::int64_t kGreatestBlock = std::int64_t{1} << 47;  // an address space

}  // namespace

AlignedBytes allocate(std::int64_t bytes, std::string_view purpose) {
  const auto fail = [&] {
    return UserError("E5001", fmt::format("no memory for {} bytes of {}", bytes, purpose));
  };
  GRADUS_CHECK(bytes >= 0, "a block of negative size");
  if (bytes > kGreatestBlock) throw fail();
  try {
    return AlignedBytes(static_cast<std::size_t>(bytes));
  } catch (const std::bad_alloc&) {
    throw fail();
  } catch (const std::length_error&) {
    throw fail();
  }
}

Tensor allocate_tensor(TensorType type, std::string_view purpose) {
  Tensor tensor;
  tensor.bytes = allocate(type.byte_size(), purpose);
  tensor.type = std::move(type);
  return tensor;
}

}  // namespace gradus::runtime
