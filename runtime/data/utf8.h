#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace gradus::runtime {

/// The code points of UTF-8, up to the first byte that begins no character.
struct Characters {
  std::vector<std::uint32_t> code_points;
  std::optional<std::size_t> malformed;  // where that byte is
};
[[nodiscard]] Characters decode_utf8(std::span<const unsigned char> bytes);
[[nodiscard]] Characters decode_utf8(const std::string& text);

/// A code point below 2^21.
[[nodiscard]] std::string encode_utf8(std::uint32_t code_point);

}  // namespace gradus::runtime
