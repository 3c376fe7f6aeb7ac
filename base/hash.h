#pragma once

#include <cstddef>
#include <cstdint>

namespace gradus {

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the same on every machine.
[[nodiscard]] constexpr std::uint64_t hash_value(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

[[nodiscard]] constexpr std::uint64_t hash_combine(std::uint64_t seed, std::uint64_t value) {
  return hash_value(seed ^ (value + 0x9E3779B97F4A7C15u + (seed << 6) + (seed >> 2)));
}

/// FNV-1a over the bytes, then mixed.
[[nodiscard]] inline std::uint64_t hash_bytes(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 0x100000001B3u;
  return hash_value(hash);
}

template <typename Range>
[[nodiscard]] constexpr std::uint64_t hash_range(const Range& range) {
  std::uint64_t hash = 0;
  for (const auto& element : range) {
    hash = hash_combine(hash, static_cast<std::uint64_t>(element));
  }
  return hash;
}

}  // namespace gradus
