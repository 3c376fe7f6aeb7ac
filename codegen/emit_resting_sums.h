#pragma once

// The sums of a contraction that rest in memory while it does something else. Private to the
// emitter.

#include <functional>

#include "codegen/emit_context.h"

namespace gradus::codegen {

/// One sum per row and column of the current ranges, in row-major order; rows are whole vectors.
class RestingSums {
 public:
  enum class Extent : std::uint8_t {
    one_of_batch,  // of rows and n: used for one position of the batch after the other
    whole_batch,
    in_result,  // all, where they are going to be stored (kernel_scratch.h)
  };

  /// `width` elements of `type` are a vector.
  RestingSums(EmitContext& context, const Contract& contract, ElementType type, std::int64_t width,
              Extent extent);

  /// All become +0.
  void clear();
  /// Adds `other`, element by element.
  void add(const RestingSums& other);
  /// Address of the sum at the current positions of batch and rows and at column `n`.
  [[nodiscard]] llvm::Value* address(llvm::Value* n);
  /// Runs the contraction's epilogue and its stores on all of them; in the result they are stored.
  void finish();

 private:
  void each_vector(const std::function<void(llvm::Value* number)>& body);
  [[nodiscard]] llvm::Value* vector(llvm::Value* number) const;
  [[nodiscard]] llvm::Type* vector_type() const;

  EmitContext& c_;
  const Contract& contract_;
  ElementType type_;
  std::int64_t width_;
  std::vector<AxisId> axes_;       // of the buffer
  std::vector<AxisRange> ranges_;  // that it holds
  bool in_result_;
  BufferId buffer_ = 0;
};

}  // namespace gradus::codegen
