#include "frontend/streams.h"

#include <fmt/format.h>

#include "base/hash.h"

namespace gradus::frontend {

std::int64_t Streams::of(const std::string& path, const SourceLocation& where) {
  const auto stream = static_cast<std::int64_t>(hash_bytes(path.data(), path.size()) >> 32);
  claim(stream, path, where);
  return stream;
}

void Streams::claim(std::int64_t stream, const std::string& path, const SourceLocation& where) {
  const auto [owner, added] = owners_.emplace(stream, path);
  if (added || owner->second == path) return;
  throw UserError(
      "E0209",
      fmt::format("the random numbers of '{}' and '{}' would be the same", path, owner->second),
      where, "rename one of the two layers");
}

}  // namespace gradus::frontend
