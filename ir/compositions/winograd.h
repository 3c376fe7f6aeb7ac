#pragma once

#include "ir/convolution.h"
#include "ir/expr.h"

namespace gradus::ir {

/// The convolution of lhs with rhs by minimal filtering F(m x m, 3 x 3), where the algorithm of
/// `axes` says m and the axes admit it (ir/convolution.h); result axes: batch, spatial, output.
/// Y = A'[(G w G') * (B' x B)]A for every tile x of (m + 2) x (m + 2) places, where * multiplies
/// elementwise and sums over the input features: one contraction for each position of a tile. A
/// convolution with three outputs, as the gradient of rhs is, comes from the derivative of this form.
/// (Winograd 1980; in networks: Lavin and Gray 2016, https://arxiv.org/abs/1509.09308. The points
/// of F(4 x 4, 3 x 3) are 0, 1, -1, 1/2, -2 and infinity, whose rounding errors are smaller than
/// those of whole numbers: Barabasz et al. 2020, https://arxiv.org/abs/1803.10986.)
[[nodiscard]] Expr winograd(Expr lhs, Expr rhs, const ConvolutionAxes& axes);

}  // namespace gradus::ir
