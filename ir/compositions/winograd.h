#pragma once

#include "ir/convolution.h"
#include "ir/expr.h"

namespace gradus::ir {

/// The convolution of lhs with rhs by minimal filtering F(2x2, 3x3), for axes that admit it
/// (ir/convolution.h); result axes: batch, spatial, output. Y = A'[(G w G') * (B' x B)]A for every
/// tile x of 4 x 4 places, where * multiplies elementwise and sums over the input features: one
/// contraction for each of the 16 positions. (Winograd 1980; the matrices and their use in
/// networks: Lavin and Gray 2016, https://arxiv.org/abs/1509.09308.)
[[nodiscard]] Expr winograd(Expr lhs, Expr rhs, const ConvolutionAxes& axes);

}  // namespace gradus::ir
