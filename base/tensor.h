#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <vector>

#include "base/aligned_memory.h"
#include "base/check.h"
#include "base/tensor_type.h"

namespace gradus {

/// Allocates storage aligned to a cache line, as every kernel expects its buffers.
template <typename T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(std::size_t count) {
    return static_cast<T*>(allocate_aligned(count * sizeof(T)));
  }
  void deallocate(T* pointer, std::size_t count) { free_aligned(pointer, count * sizeof(T)); }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) { return true; }
};

/// A dense row-major tensor in host memory, 64-byte aligned.
struct Tensor {
  TensorType type;
  std::vector<std::byte, AlignedAllocator<std::byte>> bytes;

  Tensor() = default;
  /// All elements zero.
  explicit Tensor(TensorType t)
      : type(std::move(t)), bytes(static_cast<std::size_t>(type.byte_size())) {}

  template <typename T>
  [[nodiscard]] static Tensor scalar(ElementType element, T value) {
    Tensor tensor(TensorType{element, {}});
    GRADUS_CHECK(sizeof(T) == tensor.bytes.size(), "scalar of another size");
    std::memcpy(tensor.bytes.data(), &value, sizeof(T));
    return tensor;
  }

  /// The elements as T; T must have the element type's size.
  template <typename T>
  [[nodiscard]] std::span<T> as() {
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <typename T>
  [[nodiscard]] std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  /// Equality of bits (so NaNs compare by payload and -0 differs from +0).
  friend bool operator==(const Tensor& a, const Tensor& b) {
    return a.type == b.type && a.bytes == b.bytes;
  }
};

}  // namespace gradus
