#include "runtime/data/utf8.h"

namespace gradus::runtime {
namespace {

/// Whether UTF-8 has the character in as many bytes (RFC 3629): in the fewest, and not the halves
/// of pairs of UTF-16.
bool is_encoded_in(std::uint32_t character, std::size_t bytes) {
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool half = character >= 0xD800 && character <= 0xDFFF;
  return character >= kLeast[bytes] && character <= 0x10FFFF && !half;
}

}  // namespace

Characters decode_utf8(std::span<const unsigned char> bytes) {
  Characters result;
  for (std::size_t at = 0; at < bytes.size();) {
    const unsigned char first = bytes[at];
    const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    std::uint32_t character = length == 1 ? first : first & (0xFFu >> (length + 1));
    bool valid = first < 0x80 || (first >= 0xC0 && first < 0xF8);
    valid = valid && at + length <= bytes.size();
    for (std::size_t i = 1; valid && i < length; ++i) {
      valid = (bytes[at + i] & 0xC0) == 0x80;
      character = character << 6 | (bytes[at + i] & 0x3F);
    }
    if (!valid || !is_encoded_in(character, length)) {
      result.malformed = at;
      return result;
    }
    result.code_points.push_back(character);
    at += length;
  }
  return result;
}

Characters decode_utf8(const std::string& text) {
  return decode_utf8(std::vector<unsigned char>(text.begin(), text.end()));
}

std::string encode_utf8(std::uint32_t code_point) {
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  std::string reversed;
  std::uint32_t rest = code_point;
  std::uint32_t room = 0x3F;  // of the first byte
  while (rest > room) {
    reversed += static_cast<char>(0x80 | (rest & 0x3F));
    rest >>= 6;
    room = room == 0x3F ? 0x1F : room >> 1;
  }
  reversed += static_cast<char>((~(2 * room + 1) & 0xFF) | rest);
  return {reversed.rbegin(), reversed.rend()};
}

}  // namespace gradus::runtime
