#include <algorithm>

#include "ir/compositions/activations.h"
#include "ir/compositions/normalisation.h"
#include "tests/support/random_net.h"

namespace gradus::support {

using ir::Expr;

/// The features as small images: convolutions, normalisation, pooling.
Expr Net::image(Expr x) {
  if (options_.many) return rows(x);
  const std::int64_t side = random_.between(2, 7);
  const std::int64_t channels = random_.between(1, 3);
  const std::int64_t wanted = side * side * channels;
  if (x.shape()[1] != wanted) x = projected(x, wanted);
  Expr y = ir::reshape(x, {x.shape()[0], side, side, channels});
  for (std::int64_t i = random_.between(1, 3); i > 0; --i) {
    y = random_.chance(0.6) ? convolved(y) : random_.chance(0.5) ? channel_norm(y) : pooled(y);
  }
  return flat(y);
}
Expr Net::convolved(Expr x) {
  const std::int64_t channels = x.shape()[3];
  const std::int64_t filters = random_.between(1, 20);
  const bool depthwise = random_.chance(0.2);
  const bool plain = random_.chance(0.3);  // which winograd admits
  ir::ConvolutionAxes axes{0, 3, 2, 3, -1, -1, {}};
  if (depthwise) axes = {0, 4, 3, 4, 3, 2, {}};
  Shape kernel;
  for (std::int64_t i = 0; i < 2; ++i) {
    kernel.push_back(plain ? 3 : random_.between(1, 3));
    const bool transposed = random_.chance(0.2);
    const std::int64_t stride = plain ? 1 : random_.between(1, 2);
    const std::int64_t high = random_.between(0, 1);
    const std::int64_t dilation = plain ? 1 : random_.between(1, 2);
    axes.spatial.push_back({i + 1, i, transposed ? 1 : stride, (kernel.back() - 1) * dilation, high,
                            dilation, transposed ? stride : 1});
  }
  if (depthwise) {
    kernel.insert(kernel.end(), {channels, 1, random_.between(1, 2)});
    x = ir::reshape(x, {x.shape()[0], x.shape()[1], x.shape()[2], channels, 1});
  } else {
    kernel.insert(kernel.end(), {channels, filters});
  }
  const bool small = random_.chance(0.5);
  if (admits(ir::ConvolutionAlgorithm::winograd_2x2, axes, x.shape(), kernel)) {
    axes.algorithm =
        small ? ir::ConvolutionAlgorithm::winograd_2x2 : ir::ConvolutionAlgorithm::winograd_4x4;
  }
  Expr y = ir::conv(x, parameter(kernel), axes);
  if (depthwise) {
    const Shape& s = y.shape();
    y = ir::reshape(y, {s[0], s[1], s[2], s[3] * s[4]});
  }
  return activated(y);
}
Expr Net::channel_norm(Expr x) {
  const Shape width{x.shape()[3]};
  const Expr d = x - ir::along_channels(parameter(width), x);
  const ir::Moments moments = ir::channel_moments(d);
  ir::ChannelAffine affine{moments.mean, moments.variance};
  if (random_.chance(0.5)) affine.gamma = parameter(width);
  if (random_.chance(0.5)) affine.beta = parameter(width);
  return ir::normalize_channels(d, affine, 1e-3);
}
Expr Net::pooled(Expr x) {
  const Shape& s = x.shape();
  const std::int64_t size = std::min<std::int64_t>(2, std::min(s[1], s[2]));
  if (s[1] % size == 0 && s[2] % size == 0 && random_.chance(0.5)) {
    const Expr tiles = ir::reshape(x, {s[0], s[1] / size, size, s[2] / size, size, s[3]});
    return ir::reduce("reduce_max", tiles, {2, 4});
  }
  const std::int64_t stride = random_.between(1, 2);
  const Expr windows = ir::windows(x, {1, 2}, {size, size}, {stride, stride}, {1, 1});
  return random_.chance(0.5) ? ir::reduce("reduce_max", windows, {3, 4})
                             : ir::mean(windows, {3, 4});
}

}  // namespace gradus::support
