#pragma once

// A panel of a contraction's right operand in memory of the task. Private to the emitter.

#include <vector>

#include "codegen/emit_context.h"

namespace gradus::codegen {

/// The columns of one register tile for a piece of k: [positions of k, columns], whatever the order
/// of rhs in memory. All register tiles of rows read it from a near cache.
class RhsCopy {
 public:
  /// Panels of `columns` columns of `type`.
  RhsCopy(EmitContext& context, const Contract& contract, ElementType type, std::int64_t columns);

  /// Copies columns [n, n + columns) for the current ranges of k, and fetches as many more, which
  /// are copied next or, behind the last ones, often the first of the next matrix.
  void fill(llvm::Value* n, std::int64_t columns);
  /// Of the first column at the first position of the current ranges of k.
  [[nodiscard]] llvm::Value* address() const;
  /// Elements from one position of k[i] to the next.
  [[nodiscard]] std::int64_t stride(std::size_t i) const { return strides_[i]; }

 private:
  void fetch(std::int64_t columns);

  EmitContext& c_;
  const Contract& contract_;
  BufferId buffer_ = 0;
  std::vector<std::int64_t> strides_;
};

}  // namespace gradus::codegen
