#pragma once

// What the loops of a tile fetch beside their own work. A loop that computes much leaves memory
// idle, and one that computes little waits for it: so the rows of the next tile, and the memory
// that this tile is going to fill, are fetched by all loops of the tile, by each as much as it has
// time for. Private to the emitter.

#include <functional>
#include <map>
#include <vector>

#include "codegen/emit_memory.h"

namespace gradus::codegen {

/// At a point of a loop: what `access` names there, or at the same point of the next tile.
struct Fetch {
  Access access;
  Reference::Purpose purpose = Reference::Purpose::read;
  bool next_tile = false;
};

/// For loops of a kernel in tiles that `can_fetch`, what they fetch.
[[nodiscard]] std::map<const Loop*, std::vector<Fetch>> tile_fetches(
    const Kernel& kernel, const std::function<bool(const Loop&)>& can_fetch);

/// `fetches` at the current point of a loop. Behind the last tile there is nothing, or nothing
/// useful, to fetch: that does not fault.
class FetchEmitter {
 public:
  /// A point is a single one, or with `rows` > 1 so many along `row_axis`.
  FetchEmitter(EmitContext& context, const std::vector<Fetch>& fetches, VectorAxis vector,
               AxisId row_axis, int rows);
  /// Emits the addresses that depend only on axes of `known`.
  void advance(AxisSet known);
  void fetch();

 private:
  struct Line {
    Reference here;
    std::int64_t bytes = 0;  // from here
    Reference::Purpose purpose = Reference::Purpose::read;
  };
  std::vector<Line> lines_;
};

}  // namespace gradus::codegen
