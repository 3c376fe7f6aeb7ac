#pragma once

// The numbers of a convolution: which axes play which part, and which taps count where.

#include <cstdint>
#include <string_view>
#include <vector>

#include "ir/attributes.h"

namespace gradus::ir {

/// One spatial axis of a convolution. Output y reads, for every tap k that counts, place
/// (y * stride + k * window_dilation - low) / base_dilation of lhs; tap k counts where this
/// division is exact. A place outside of lhs is the factor +0.
struct SpatialAxis {
  std::int64_t lhs = 0;  // axis of lhs
  std::int64_t rhs = 0;
  std::int64_t stride = 1;
  std::int64_t low = 0;  // places before the first; negative: crops
  std::int64_t high = 0;
  std::int64_t window_dilation = 1;
  std::int64_t base_dilation = 1;
};

/// How a convolution computes its sums; another one has other bits.
enum class ConvolutionAlgorithm : std::uint8_t {
  direct,        // one contraction over input features and taps
  winograd_2x2,  // F(2x2, 3x3): 16 products for 4 outputs instead of 36 (compositions/winograd.h)
  winograd_4x4,  // F(4x4, 3x3): 36 products for 16 outputs instead of 144
};
inline constexpr ConvolutionAlgorithm kConvolutionAlgorithms[] = {
    ConvolutionAlgorithm::direct, ConvolutionAlgorithm::winograd_2x2,
    ConvolutionAlgorithm::winograd_4x4};
[[nodiscard]] std::string_view to_string(ConvolutionAlgorithm algorithm);
/// Outputs of a tile along each axis; 1 without tiles.
[[nodiscard]] std::int64_t tile_outputs(ConvolutionAlgorithm algorithm);

/// The axes of lhs and rhs by their part. A group axis of both is kept: every group is a
/// convolution of its own.
struct ConvolutionAxes {
  std::int64_t lhs_batch = 0;
  std::int64_t lhs_feature = 0;
  std::int64_t rhs_in = 0;
  std::int64_t rhs_out = 0;
  std::int64_t lhs_group = -1;  // -1: none
  std::int64_t rhs_group = -1;
  std::vector<SpatialAxis> spatial;
  ConvolutionAlgorithm algorithm = ConvolutionAlgorithm::direct;

  [[nodiscard]] bool grouped() const { return lhs_group >= 0; }
  /// The contracted axes of rhs, ascending: its input features and its taps.
  [[nodiscard]] Integers contracted() const;
};

/// Throws TypeError where the lists do not fit together.
[[nodiscard]] ConvolutionAxes convolution_axes(const Attributes& attributes);
[[nodiscard]] Attributes to_attributes(const ConvolutionAxes& axes);

/// Whether a convolution with these numbers can be computed by `algorithm`: tiles need two spatial
/// axes without strides, dilations and groups, and three taps or, as the gradient of such a rhs is,
/// three outputs.
[[nodiscard]] bool admits(ConvolutionAlgorithm algorithm, const ConvolutionAxes& axes,
                          const Shape& lhs, const Shape& rhs);

/// Extent of lhs with its gaps.
[[nodiscard]] std::int64_t dilated(std::int64_t extent, std::int64_t dilation);
/// Number of outputs for `places` of lhs and `taps` of rhs; at least one tap.
[[nodiscard]] std::int64_t output_extent(const SpatialAxis& axis, std::int64_t places,
                                         std::int64_t taps);

/// The outputs `first_output`, + `output_step`, ... of one spatial axis, for all of which the taps
/// first_tap, + tap_step, ... count: number j of them reads, for output number i, place
/// place + i * place_step + j * tap_place_step.
struct Phase {
  std::int64_t first_output = 0;
  std::int64_t output_step = 1;
  std::int64_t outputs = 0;
  std::int64_t first_tap = 0;
  std::int64_t tap_step = 1;
  std::int64_t taps = 0;
  std::int64_t place = 0;
  std::int64_t place_step = 1;
  std::int64_t tap_place_step = 1;
};
/// All phases of an axis with `outputs` outputs and `taps` taps, by their first output.
[[nodiscard]] std::vector<Phase> phases(const SpatialAxis& axis, std::int64_t outputs,
                                        std::int64_t taps);

}  // namespace gradus::ir
