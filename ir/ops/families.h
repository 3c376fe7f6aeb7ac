#pragma once

#include <vector>

#include "ir/op.h"

namespace gradus::ir {

// One function per file of this folder; the registry (ir/op.cpp) puts them in a row.
std::vector<OpRecord> source_ops();
std::vector<OpRecord> arithmetic_ops();
std::vector<OpRecord> comparison_ops();
std::vector<OpRecord> math_ops();
std::vector<OpRecord> random_ops();
std::vector<OpRecord> movement_ops();
std::vector<OpRecord> window_ops();
std::vector<OpRecord> tile_ops();
std::vector<OpRecord> reduction_ops();
std::vector<OpRecord> indexing_ops();
std::vector<OpRecord> contraction_ops();
std::vector<OpRecord> convolution_ops();
std::vector<OpRecord> scan_ops();

// What several families share.

/// The common shape of elementwise operands, each of that shape or of rank 0. Throws TypeError.
Shape elementwise_shape(const InferContext& context);
/// All operands of one element type, which is the result's. Throws TypeError.
std::vector<TensorType> infer_same(const InferContext& context);
/// As infer_same, for anything but bool. Throws TypeError.
std::vector<TensorType> infer_number(const InferContext& context);
/// As infer_same, for f32 and f64 only. Throws TypeError.
std::vector<TensorType> infer_float(const InferContext& context);
/// Sums a cotangent of the result's shape to the shape of operand x (x's own, or rank 0).
Expr reduce_to(Expr cotangent, Expr x);
/// Every axis one further, for stacks of iterations.
Integers behind_stack_axis(Integers axes);
/// [length, shape...], as long as the first stack.
Shape stack_shape(const StackContext& context);
/// Throws TypeError unless every axis is one of `rank` and they ascend.
void check_axes(const Integers& axes, std::int64_t rank);

/// Throws TypeError unless attribute `name` has one entry for each of `rank` axes.
void check_length(const Integers& list, std::int64_t rank, std::string_view name);
/// Where a movement reads along one axis of its operand.
AxisMap along(std::int64_t axis, std::int64_t coefficient = 1, std::int64_t offset = 0,
              std::int64_t divisor = 1);

}  // namespace gradus::ir
