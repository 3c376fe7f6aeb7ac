#pragma once

// One scalar instruction in LLVM IR, on one element or on several lanes. Private to the emitter.

#include <span>

#include "codegen/emit_context.h"

namespace gradus::codegen {

/// The result of `instruction` (none of operand, index, call, fault) on arguments that have
/// `lanes` lanes each; `argument` is the element type of its first argument. Division by zero
/// gives 0; raising the fault is the caller's affair.
[[nodiscard]] llvm::Value* emit_operation(EmitContext& context,
                                          const ir::ScalarInstruction& instruction,
                                          ElementType argument,
                                          std::span<llvm::Value* const> arguments, int lanes);

/// A constant of `type` given by its bits, in every lane.
[[nodiscard]] llvm::Constant* emit_constant(EmitContext& context, ElementType type,
                                            std::uint64_t bits, int lanes);

/// max or min of floats and integers: NaN wins, -0 < +0, subnormals are zero. Without `flush` the
/// result is a subnormal or the zero of the same sign where it should be that zero.
[[nodiscard]] llvm::Value* emit_extremum(EmitContext& context, bool greatest, ElementType type,
                                         llvm::Value* x, llvm::Value* y, bool flush = true);

/// Subnormal floats become zero of the same sign.
[[nodiscard]] llvm::Value* emit_flush(EmitContext& context, ElementType type, llvm::Value* x);

/// select(condition, x, y) that never flushes.
[[nodiscard]] llvm::Value* emit_select(EmitContext& context, llvm::Value* condition, llvm::Value* x,
                                       llvm::Value* y);

}  // namespace gradus::codegen
