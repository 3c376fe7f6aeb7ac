#pragma once

// What all parts of the emitter share while one kernel becomes one LLVM function. Private to
// codegen/emit*.cpp and jit.cpp: it includes LLVM.

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "codegen/emit_sums.h"
#include "codegen/kernel.h"
#include "codegen/target.h"
#include "codegen/unread.h"

namespace gradus::codegen {

/// A set of kernel axes, one bit each.
using AxisSet = std::uint64_t;
[[nodiscard]] constexpr AxisSet axis_bit(AxisId axis) { return AxisSet{1} << axis; }

/// The current range of an axis.
struct AxisRange {
  llvm::Value* begin = nullptr;
  llvm::Value* end = nullptr;
  std::vector<std::int64_t> lengths;  // every length that it can have, ascending
  std::int64_t multiple = 0;          // divides every `begin`; 0: begin is always 0

  [[nodiscard]] bool fixed() const { return lengths.size() == 1; }
  [[nodiscard]] std::int64_t greatest() const { return lengths.back(); }
};

/// One function under construction. Positions and ranges are i64 values.
class EmitContext {
 public:
  EmitContext(const Kernel& kernel, const Target& target, llvm::Module& module,
              const std::string& symbol);

  const Kernel& kernel;
  const Target& target;
  llvm::IRBuilder<> b;
  SumEmitter sums{b};
  llvm::Function* function = nullptr;
  std::vector<AxisRange> ranges;  // by axis
  /// The ranges of the task and its tile, which the kernel's local buffers hold: a stage may narrow
  /// `ranges` to its own blocks, and the emitter's own scratch holds those.
  std::vector<AxisRange> tile_ranges;
  /// While a stage works block by block: the emitter's own scratch of before, which has numbers
  /// below `first`, holds these ranges all the same.
  struct Narrowed {
    BufferId first = 0;
    std::vector<AxisRange> ranges;
  };
  std::optional<Narrowed> narrowed;
  std::vector<llvm::Value*> positions;  // by axis: of the current point; null outside its loop
  std::vector<Buffer> buffers;          // the kernel's, then the emitter's own scratch
  std::vector<llvm::Value*> addresses;  // by buffer: of its first element
  llvm::Value* fault = nullptr;
  std::vector<std::optional<Unread>> unread;  // by stage of the kernel

  /// What a stage of the kernel may leave out; null: nothing, as of the emitter's own stages.
  template <typename Kind>
  [[nodiscard]] const Unread* unread_part(const Kind& own) const {
    for (std::size_t i = 0; i < kernel.stages.size(); ++i) {
      if (std::get_if<Kind>(&kernel.stages[i]) == &own && unread[i]) return &*unread[i];
    }
    return nullptr;
  }

  [[nodiscard]] llvm::ConstantInt* i64(std::int64_t value) {
    return b.getInt64(static_cast<std::uint64_t>(value));
  }
  [[nodiscard]] const Axis& axis(AxisId id) const {
    return kernel.axes[static_cast<std::size_t>(id)];
  }
  [[nodiscard]] AxisRange& range(AxisId id) { return ranges[static_cast<std::size_t>(id)]; }
  /// Position of an axis: of its loop, else the beginning of its range.
  [[nodiscard]] llvm::Value* position(AxisId id);

  /// Type of an element in a register (bool: i1) and in memory (bool: i8).
  [[nodiscard]] llvm::Type* register_type(ElementType type);
  [[nodiscard]] llvm::Type* memory_type(ElementType type);
  /// `lanes` elements; the element itself when lanes is 1.
  [[nodiscard]] static llvm::Type* lanes_type(llvm::Type* element, int lanes);
  /// `value` in every lane.
  [[nodiscard]] llvm::Value* splat(llvm::Value* value, int lanes);

  /// A mutable value; becomes SSA form when the function is complete.
  [[nodiscard]] llvm::AllocaInst* variable(llvm::Type* type);

  /// A scratch buffer of the emitter's own, 64-byte aligned; `local` as in Buffer.
  [[nodiscard]] BufferId add_scratch(TensorType type, std::vector<AxisId> local);

  /// factor * value.
  [[nodiscard]] llvm::Value* multiple(llvm::Value* value, std::int64_t factor);

  /// Where range `number` of the cut begins.
  [[nodiscard]] llvm::Value* border(const ir::Cut& cut, llvm::Value* number);

  /// The position, or where it is outside of the range the nearest of its ends.
  [[nodiscard]] llvm::Value* clamped(llvm::Value* position, const AxisRange& range);

  /// Whether a half-plane admits positions of its two axes.
  [[nodiscard]] llvm::Value* admits(const HalfPlane& half_plane, llvm::Value* low,
                                    llvm::Value* high);
  /// The positions of `axis` in `range` that a half-plane admits for those of its other axis that
  /// begin at `other` and are `length`.
  [[nodiscard]] AxisRange admitted(const HalfPlane& half_plane, AxisId axis, const AxisRange& range,
                                   llvm::Value* other, std::int64_t length);

  /// Emits a loop for i = begin, begin + step, ... below end. `trips` is their number if known.
  void loop(llvm::Value* begin, llvm::Value* end, std::int64_t step,
            std::optional<std::int64_t> trips, const std::function<void(llvm::Value*)>& body);
  /// Emits `body` under a condition.
  void when(llvm::Value* condition, const std::function<void()>& body);

  /// Cuts the range of `axis` into nearly equal pieces of at most `size` positions, and emits
  /// `body` with each piece as the current range.
  void tiles(AxisId axis, std::int64_t size, const std::function<void()>& body);

  /// Cuts the range of `axis` into pieces of exactly `size` positions and, where there is one, a
  /// shorter rest; emits `body` with the begin and the length of a piece, a constant, for each
  /// kind.
  void pieces(AxisId axis, std::int64_t size,
              const std::function<void(llvm::Value*, std::int64_t)>& body);

  /// Ends the function: returns its scratch size in bytes.
  std::int64_t finish();

 private:
  [[nodiscard]] llvm::Value* reserve(std::int64_t bytes);
  std::vector<llvm::AllocaInst*> variables_;
  std::int64_t scratch_bytes_ = 0;
};

/// Lengths of the nearly equal pieces, at most `size` long, of ranges of the given lengths.
[[nodiscard]] std::vector<std::int64_t> piece_lengths(const std::vector<std::int64_t>& lengths,
                                                      std::int64_t size);

}  // namespace gradus::codegen
