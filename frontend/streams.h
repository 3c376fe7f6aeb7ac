#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace gradus::frontend {

/// Numbers that tell the random sequences of a model apart: 32 bits of a hash of layer path and
/// role ("dropout/mask"), so that inserting a layer leaves the others' sequences alone.
class Streams {
 public:
  /// The number of `path`. Throws UserError E0209 when another path has the same.
  std::int64_t of(const std::string& path);
  /// As `of`, for a number that is already known.
  void claim(std::int64_t stream, const std::string& path);

 private:
  std::map<std::int64_t, std::string> owners_;
};

}  // namespace gradus::frontend
