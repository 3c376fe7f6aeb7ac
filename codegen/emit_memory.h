#pragma once

// Elements of buffers: addresses, guarded loads and stores, on one element or on lanes along an
// axis. Private to the emitter.

#include <optional>
#include <vector>

#include "codegen/emit_context.h"
#include "codegen/fetch.h"

namespace gradus::codegen {

/// The axis whose positions are the lanes of vectors; `lanes` is 1 where nothing is vectorised.
struct VectorAxis {
  AxisId axis = -1;
  int lanes = 1;
  [[nodiscard]] bool moves(const Affine& affine) const;
};

inline constexpr std::int64_t kCacheLine = 64;  // bytes

/// Brings the line `bytes` behind `here` into a cache: the second one, or where it is going to be
/// written, the first. What does not exist is not touched.
void fetch_line(llvm::IRBuilder<>& b, llvm::Value* here, std::int64_t bytes, Purpose purpose);

/// An access as a function of the axes: element offset = sum of terms + constant + divided parts.
class Reference {
 public:
  Reference(EmitContext& context, const Access& access, VectorAxis vector);

  /// Axes other than the vector axis that the address depends on.
  [[nodiscard]] AxisSet base_axes() const { return base_axes_; }
  /// True when all lanes have one address.
  [[nodiscard]] bool uniform() const { return step_ == 0 && moving_.empty() && !lane_picks_; }
  /// True when the lanes are neighbours in memory.
  [[nodiscard]] bool dense() const { return step_ == 1 && moving_.empty() && !lane_picks_; }
  [[nodiscard]] const std::optional<Pick>& pick() const { return pick_; }
  /// Every lane has an index of its own in the picked dimension.
  void pick_by_lanes() { lane_picks_ = true; }
  /// The index in the picked dimension, of any integer type: one, or one per lane. Signed or not as
  /// `type` says.
  void set_picked(llvm::Value* index, ElementType type);
  /// Elements between neighbours along `axis`; throws InternalError where that is not constant.
  [[nodiscard]] std::int64_t stride(AxisId axis) const;
  [[nodiscard]] ElementType element() const { return element_; }

  /// Emits the part of the address that does not depend on the vector axis, here and now.
  void emit_base();
  [[nodiscard]] bool has_base() const { return base_.has_value(); }
  void forget_base() { base_ = std::nullopt; }

  /// Reads one element (uniform) or the lanes that `mask` admits (null: all; others are 0), as
  /// register values. `scalar_guard` (uniform only): reads 0 where it is false; may be null.
  [[nodiscard]] llvm::Value* load(llvm::Value* mask, llvm::Value* scalar_guard = nullptr);
  /// Writes one element or the lanes that `mask` admits.
  void store(llvm::Value* value, llvm::Value* mask);
  /// Address of the current element, of the first lane where there are lanes.
  [[nodiscard]] llvm::Value* address();
  /// Fetches the lines `bytes` behind the current elements.
  void fetch(std::int64_t bytes, Purpose purpose);

 private:
  struct Divided {
    Affine value;
    std::int64_t stride = 0;
  };
  [[nodiscard]] const Sum& base();
  /// Of the element that the base names but for its constant.
  [[nodiscard]] llvm::Value* row_address();
  /// Adds what the first lane is away from the base.
  [[nodiscard]] Sum along_vector(const Sum& sum);
  [[nodiscard]] llvm::Value* lane_addresses();
  /// The buffer's first element, further on where one index is picked for all lanes.
  [[nodiscard]] llvm::Value* origin() const;

  EmitContext* context_;
  VectorAxis vector_;
  ElementType element_;
  BufferId buffer_;
  bool empty_ = false;
  std::vector<Term> terms_;  // without the vector axis
  std::int64_t constant_ = 0;
  std::int64_t step_ = 0;        // elements from lane to lane
  std::vector<Divided> fixed_;   // parts that do not depend on the vector axis
  std::vector<Divided> moving_;  // parts that do
  std::vector<Term> local_;      // begins of ranges to subtract
  AxisSet base_axes_ = 0;
  std::optional<Sum> base_;  // elements from the buffer's first one
  std::optional<Pick> pick_;
  std::int64_t picked_extent_ = 0;
  std::int64_t picked_stride_ = 0;
  bool lane_picks_ = false;
  llvm::Value* picked_ = nullptr;  // elements from the origin; by lanes a vector
};

/// Whether `guard` holds: one i1 where it does not depend on the vector axis, else one per lane.
[[nodiscard]] llvm::Value* emit_guard(EmitContext& context, const Guard& guard,
                                      const VectorAxis& vector);

/// 0, 1, 2, ... in `lanes` lanes of an integer type, times `step`.
[[nodiscard]] llvm::Constant* lane_numbers(llvm::Type* integer, int lanes, std::int64_t step = 1);

}  // namespace gradus::codegen
