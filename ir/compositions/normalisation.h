#pragma once

#include "ir/expr.h"

namespace gradus::ir {

/// Mean and variance (not corrected for the sample) of each channel - the last axis - over all
/// other axes, from the sums of x - shift and of its square: one pass over x. The nearer shift
/// [channels] is to the mean, the less is lost to rounding.
struct Moments {
  Expr mean;
  Expr variance;
};
[[nodiscard]] Moments channel_moments(Expr x, Expr shift);

/// (x - mean) / sqrt(variance + epsilon), channel by channel.
[[nodiscard]] Expr normalize_channels(Expr x, const Moments& moments, double epsilon);

/// (x - mean) / sqrt(variance + epsilon) with the moments of every example and group of channels
/// (Wu and He 2018). `groups` divides the channels; as many groups as channels is instance
/// normalisation (Ulyanov et al. 2016).
[[nodiscard]] Expr normalize_groups(Expr x, std::int64_t groups, double epsilon);

/// x / (bias + alpha * sum of x^2 over `radius` channels on either side)^beta (Krizhevsky et al.
/// 2012).
[[nodiscard]] Expr local_response(Expr x, std::int64_t radius, double bias, double alpha,
                                  double beta);

}  // namespace gradus::ir
