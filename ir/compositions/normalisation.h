#pragma once

#include <optional>

#include "ir/expr.h"

namespace gradus::ir {

/// `v` [channels] for every position of `x`, whose last axis are the channels.
[[nodiscard]] Expr along_channels(Expr v, Expr x);

/// Mean and variance (not corrected for the sample) of each channel - the last axis - over all
/// other axes, from the sums of x and of its square: one pass over x. The nearer the mean is to 0,
/// the less is lost to rounding.
struct Moments {
  Expr mean;
  Expr variance;
};
[[nodiscard]] Moments channel_moments(Expr x);

/// x * scale + offset, channel by channel: (x - mean) / sqrt(variance + epsilon) * gamma + beta in
/// the form whose gradient needs two sums over x. Without gamma 1, without beta 0, without mean 0.
struct ChannelAffine {
  std::optional<Expr> mean;
  Expr variance;
  std::optional<Expr> gamma = {};
  std::optional<Expr> beta = {};
};
[[nodiscard]] Expr normalize_channels(Expr x, const ChannelAffine& affine, double epsilon);

/// x / sqrt(mean of x^2 + epsilon) along the last axis (Zhang and Sennrich 2019).
[[nodiscard]] Expr normalize_squares(Expr x, double epsilon);

/// (x - mean) / sqrt(variance + epsilon) with the moments of every example and group of channels
/// (Wu and He 2018). `groups` divides the channels; as many groups as channels is instance
/// normalisation (Ulyanov et al. 2016).
[[nodiscard]] Expr normalize_groups(Expr x, std::int64_t groups, double epsilon);

/// x / (bias + alpha * sum of x^2 over `radius` channels on either side)^beta (Krizhevsky et al.
/// 2012).
[[nodiscard]] Expr local_response(Expr x, std::int64_t radius, double bias, double alpha,
                                  double beta);

}  // namespace gradus::ir
