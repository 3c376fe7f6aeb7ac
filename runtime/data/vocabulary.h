#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gradus::runtime {

/// What the tokens of a text stand for.
struct Vocabulary {
  std::string tokens;                     // "characters" or "bytes"; empty: the data are no text
  std::vector<std::uint32_t> characters;  // the code point of each token, ascending
  friend bool operator==(const Vocabulary&, const Vocabulary&) = default;
};

}  // namespace gradus::runtime
