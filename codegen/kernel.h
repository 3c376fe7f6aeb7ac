#pragma once

// Kernel IR: what one compiled kernel does, loop by loop, without a word of LLVM.
//
// A kernel is a grid of *tasks* that may run in any order on any worker, and inside a task a
// sequence of *stages*. A domain axis is a named index with an extent; stages and accesses refer
// to axes. Axes are cut on two levels:
//   task   a task axis is cut into `count` ranges; tasks are the product of the task axes' cuts,
//          numbered row-major. A task sees only its range of each task axis.
//   tile   at most one axis is cut again inside the task into nearly equal tiles of at most
//          `tile.size` positions; the stages run in order for each tile of the task in turn.
// Task cuts that a sum depends on are the blocks of ir/order.h; every other cut, the tile size and
// the register tile of a contraction are free: they change speed, never a bit.
//
// Laws (codegen/verify_kernel.h checks them):
//  - Every access is inside its buffer for every index that its guards admit.
//  - No two tasks write the same element, and no task reads what another writes: a buffer that is
//    written is indexed by every task axis (through the axis itself or its block axis).
//  - Scratch is written before it is read within a tile (or within a task, for accumulators).

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/tensor_type.h"
#include "ir/op.h"
#include "ir/order.h"
#include "ir/scalar_program.h"

namespace gradus::codegen {

using AxisId = std::int32_t;
using BufferId = std::int32_t;

/// A domain axis. A block axis stands for the number of the current range of a task axis: its
/// extent is that axis's cut count and its range inside a task is one position.
struct Axis {
  std::string name;
  std::int64_t extent = 1;
  AxisId block_of = -1;  // the task axis whose range number this is; -1: an ordinary axis
};

/// Task axis `axis` is cut by `cut` (cut.extent is the axis's extent).
struct TaskAxis {
  AxisId axis = 0;
  ir::Cut cut;
};

struct Tile {
  AxisId axis = 0;
  std::int64_t size = 1;
};

enum class BufferRole : std::uint8_t {
  input,    // parameter, only read
  output,   // parameter, only written
  in_out,   // parameter, updated in place: each element is read only by the task that writes it
  scratch,  // the task's own memory
};

/// A row-major buffer. In scratch, a dimension with `local` = a task or tile axis holds only the
/// positions of the current range: position p is stored at p - (begin of the range), and `shape`
/// gives the greatest range length there.
struct Buffer {
  std::string name;
  TensorType type;
  BufferRole role = BufferRole::input;
  std::vector<AxisId> local;  // per dimension, -1: not local; empty: none is
};

struct Term {
  AxisId axis = 0;
  std::int64_t coefficient = 1;
  friend bool operator==(const Term&, const Term&) = default;
};

/// (sum of terms + offset) / divisor; where divisor > 1 a guard makes the division exact.
struct Affine {
  std::vector<Term> terms;  // ascending axes, no zero coefficients
  std::int64_t offset = 0;
  std::int64_t divisor = 1;
  friend bool operator==(const Affine&, const Affine&) = default;
};

/// The index of dimension `dimension` is the value of operand number `operand` of the body's
/// program, an integer that is loaded before; below 0 it counts as 0, beyond the end as the last
/// position.
struct Pick {
  std::int32_t dimension = 0;
  std::int32_t operand = 0;
  friend bool operator==(const Pick&, const Pick&) = default;
};

/// Element of a parameter or of scratch: one index per dimension. That of a picked dimension (of
/// a parameter) is 0.
struct Access {
  BufferId buffer = 0;
  std::vector<Affine> index;
  std::optional<Pick> pick = std::nullopt;
  friend bool operator==(const Access&, const Access&) = default;
};

/// Holds where `value` divides exactly and 0 <= value < extent.
struct Guard {
  Affine value;
  std::int64_t extent = 0;
  friend bool operator==(const Guard&, const Guard&) = default;
};

/// Operand i of a body's program. Where a guard fails nothing is read and the value is 0.
struct Load {
  Access access;
  std::vector<Guard> guards;
  friend bool operator==(const Load&, const Load&) = default;
};

/// A scalar program over loads. `index` instructions of the program refer to kernel axes by id.
/// `origins` names, for each fault instruction in order, the graph node that raises it.
struct Body {
  std::vector<Load> loads;
  ir::ScalarProgram program;  // operand i is loads[i]; results are numbered for stores and sinks
  std::vector<std::uint32_t> fault_nodes;
};

/// target = result number `value` of the body.
struct Store {
  Access target;
  std::int32_t value = 0;
};

/// target = reduction of result number `value` over axes `over`, which run in row-major order in
/// the order given. If `over` contains a tile or task axis, the value is complete at the end of the
/// task; else when its loop over `over` ends. A sum starts at +0. With `lanes` (sums whose
/// operand's innermost axis is reduced) the last of `over` is the loop's innermost axis and
/// position j is added in lane j mod 16; the lanes are folded +8, +4, +2, +1 on completion. The
/// innermost axis's position is counted from the axis's start, not the range's.
struct Accumulate {
  ir::ReductionKind kind = ir::ReductionKind::sum;
  Access target;
  std::int32_t value = 0;
  std::vector<AxisId> over;
  bool lanes = false;
};

/// One loop nest over the box of `axes` (the current range of each), computing the body once per
/// point. The innermost axis is the vector axis. Stores and accumulations take the body's results.
/// A point's accumulations are not visible to the same loop. Along the axes `ordered`, which the
/// task and its tiles hold whole, a point sees what earlier points have stored, and may store there
/// again; there are no accumulations then. Points that differ in another axis touch different
/// elements of what is stored.
struct Loop {
  std::vector<AxisId> axes;
  Body body;
  std::vector<Store> stores;
  std::vector<Accumulate> accumulates;
  std::vector<AxisId> ordered = {};
  std::string provenance = {};  // the model lines it comes from; empty: those of the kernel
};

/// The register tile of a contraction: positions of m, vectors of n. With `lines` > 1 it also spans
/// as many positions of the row axis before m, and m is no longer than `rows`.
struct RegisterTile {
  std::int32_t rows = 1;
  std::int32_t vectors = 1;
  std::int32_t lines = 1;
  friend bool operator==(const RegisterTile&, const RegisterTile&) = default;
};

/// Which loop over a task's register tiles is the outer one: all rows run for a panel of columns,
/// which stays in a cache, or all columns for the rows of a tile.
enum class TileOrder : std::uint8_t { columns_outer, rows_outer };

/// Cuts k into pieces that fit a cache: single positions of the axes before k[axis], at most `size`
/// positions of k[axis], and the axes behind it. All register tiles run for one piece before the
/// next one; their sums rest in memory meanwhile and go on with the same chains. 0: the whole of k.
struct Chunk {
  std::int32_t axis = 0;
  std::int64_t size = 0;
  friend bool operator==(const Chunk&, const Chunk&) = default;
};

/// The products with position(low) <= position(high) + offset, of two of the axes m, n and k.
struct HalfPlane {
  AxisId low = 0;
  AxisId high = 0;
  std::int64_t offset = 0;

  /// The one of the two axes that `axis` is not.
  [[nodiscard]] AxisId other(AxisId axis) const { return axis == low ? high : low; }
  friend bool operator==(const HalfPlane&, const HalfPlane&) = default;
};

/// For each (batch, rows, n) in the box: c = sum over k of lhs * rhs, row-major over the axes of k,
/// over the task's range of k[0], which else is cut in `parts`: each part is one chain of fma from
/// +0, several are added in order from +0; then the epilogue, whose operand 0 is c and whose
/// operand i + 1 is loads[i] at (batch, rows, n); then its stores. lhs is indexed by batch, rows
/// and k, rhs by batch, k and n, without divisions; n must be the contiguous dimension of rhs. With
/// `panel` > 0, rhs is a buffer
/// [..., ceil(n / panel), all positions of k, panel] and its access gives only the leading (batch)
/// indices. If k holds the tile axis, the sums are complete at the end of the task; then the tasks
/// have single positions of the axes of k before it, and there are neither parts nor chunks.
/// With `copied` n may be any dimension of rhs, of which the task copies the columns of a
/// tile for a chunk of k; then there is a chunk or a single part. m is the last axis of `rows`.
/// With a half-plane, for which there is one axis of rows and one of k, the chains leave out what
/// it does not admit; a sum of nothing is +0.
struct Contract {
  std::vector<AxisId> batch;
  std::vector<AxisId> rows;  // outermost first, at least one
  AxisId n = 0;
  std::vector<AxisId> k;  // outermost first, at least one
  ir::Cut parts;          // of k[0]
  std::optional<HalfPlane> half_plane = std::nullopt;
  Access lhs;
  Access rhs;
  std::int64_t panel = 0;
  bool copied = false;
  // Chosen for the instruction set (contraction_choice.h), as panel and copied are:
  RegisterTile tile;
  Chunk chunk;  // inside of each part
  TileOrder order = TileOrder::columns_outer;
  Body epilogue;
  std::vector<Store> stores;
  std::string provenance = {};  // as of a Loop

  [[nodiscard]] AxisId m() const { return rows.back(); }
  /// Axes of the result: batch, rows, n.
  [[nodiscard]] std::vector<AxisId> result_axes() const {
    std::vector<AxisId> axes = batch;
    axes.insert(axes.end(), rows.begin(), rows.end());
    axes.push_back(n);
    return axes;
  }
};

/// A new kind of stage is a compile error wherever it matters.
using Stage = std::variant<Loop, Contract>;

struct Kernel {
  std::string name;
  std::string provenance;  // the model lines it comes from
  std::vector<Axis> axes;
  std::vector<TaskAxis> tasks;
  std::optional<Tile> tile;
  std::vector<Buffer> buffers;  // parameters first, in the order of the call; then scratch
  std::vector<Stage> stages;

  [[nodiscard]] std::int64_t task_count() const {
    std::int64_t count = 1;
    for (const TaskAxis& axis : tasks) count *= axis.cut.count;
    return count;
  }
};

/// Whether a contraction of the kernel contracts the tile axis: its sums go on from tile to tile,
/// and the epilogue runs after the task's last one.
[[nodiscard]] inline bool sums_over_tiles(const Kernel& kernel, const Contract& contract) {
  return kernel.tile && std::ranges::find(contract.k, kernel.tile->axis) != contract.k.end();
}

}  // namespace gradus::codegen
