#pragma once

// What loops fetch beside their own work, so that memory is not waited for:
//   - what a loop is going to write: a store waits for its line, and later stores for that one;
//   - what a loop is going to read, where its body is so long that the processor sees only few
//     points ahead, or where it reads short rows that do not follow each other in memory, as in
//     columns and where axes change places;
//   - in tiles, the memory that this tile is going to fill, by a loop before the one that fills it,
//     and the rows of the next tile. A loop that computes much leaves memory idle, one that
//     computes little would wait for it: each loop fetches as much as it has time for;
//   - in patches (patch.h), what those of the next row are going to read first and to fill: they
//     walk through memory in blocks, which processors do not see coming;
//   - where blocks are transposed, the rows of a later block;
//   - in contractions, what a tile's epilogue is going to read and to fill, before its sums, and
//     with these, the rows of lhs of the next tile: some rows at a time are no stream either;
//     where columns of rhs are copied, those that are copied next, before the sums of these.
// Nothing is ever read or written for that: behind the end of a buffer it does not fault.

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// What elements are wanted for.
enum class Purpose : std::uint8_t { read, write };

/// At each point of a loop: what `access` names `positions` of `axis` further on.
struct Fetch {
  Access access;
  Purpose purpose = Purpose::read;
  AxisId axis = -1;
  std::int64_t positions = 0;
};

/// Whether an access is to a parameter that is larger than a first cache; an emitter's own scratch
/// is none.
[[nodiscard]] bool is_far(const Kernel& kernel, const Access& access);

/// How a loop runs.
struct LoopCourse {
  const Loop* loop = nullptr;
  std::vector<AxisId> axes;  // that move, outermost first; of columns without the vector axis
  std::int64_t row = 1;      // positions of the last one in a task or tile
  bool columns = false;      // it runs in columns (emit_columns.h)
  std::size_t work = 0;      // instructions of a point
};

/// What a tile of a contraction fetches before its sums, of each of its elements.
[[nodiscard]] std::vector<Fetch> epilogue_fetches(const Kernel& kernel, const Contract& contract);

/// What the loops of a kernel fetch.
[[nodiscard]] std::map<const Loop*, std::vector<Fetch>> share_fetches(
    const Kernel& kernel, std::span<const LoopCourse> loops);

}  // namespace gradus::codegen
