#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/diagnostic.h"

namespace gradus::frontend {

/// Numbers that tell the random sequences of a model apart: 32 bits of a hash of layer path and
/// role ("dropout/mask"), so that inserting a layer leaves the others' sequences alone.
class Streams {
 public:
  /// The number of `path`. Throws UserError E0209 at `where` when another path has the same.
  std::int64_t of(const std::string& path, const SourceLocation& where);
  /// Gives `path` a number that is known already. Throws as `of`.
  void claim(std::int64_t stream, const std::string& path, const SourceLocation& where);

 private:
  std::map<std::int64_t, std::string> owners_;
};

}  // namespace gradus::frontend
