#include <fmt/format.h>

#include "frontend/layer_families.h"
#include "ir/compositions/activations.h"
#include "ir/compositions/normalisation.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

/// Times gamma plus beta along the last axis, as settings "scale" and "center" say.
Expr scale_and_center(LayerBuilder& b, Expr y) {
  const ir::Integers last{y.rank() - 1};
  const Shape width{y.shape().back()};
  if (b.settings.boolean("scale")) {
    y = y * ir::broadcast(b.parameter("gamma", width), y.shape(), last);
  }
  if (b.settings.boolean("center")) {
    y = y + ir::broadcast(b.parameter("beta", width), y.shape(), last);
  }
  return y;
}

Expr layer_norm(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  return scale_and_center(b, ir::normalize_rows(b.x(), b.settings.number("epsilon")));
}

Expr rms_norm(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  return scale_and_center(b, ir::normalize_squares(b.x(), b.settings.number("epsilon")));
}

Expr batch_norm(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  const Expr x = b.x();
  const double epsilon = b.settings.number("epsilon");
  const double momentum = b.settings.number("momentum");
  const Shape width{x.shape().back()};
  const Expr mean = b.statistic("mean", width);
  const Expr variance = b.statistic("variance", width);
  // The running mean is near the batch's: what is left of it is small.
  const Expr d = x - ir::along_channels(mean, x);
  ir::ChannelAffine affine{{}, variance};
  if (b.training()) {
    const ir::Moments moments = ir::channel_moments(d);
    affine.mean = moments.mean;
    affine.variance = moments.variance;
    const auto moved = [&](Expr before, Expr now) {
      return before * momentum + ir::stop_gradient(now) * (1 - momentum);
    };
    b.update("mean", moved(mean, mean + moments.mean));
    b.update("variance", moved(variance, moments.variance));
  }
  if (b.settings.boolean("scale")) affine.gamma = b.parameter("gamma", width);
  if (b.settings.boolean("center")) affine.beta = b.parameter("beta", width);
  return ir::normalize_channels(d, affine, epsilon);
}

Expr group_norm(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  const std::int64_t groups = b.settings.integer("groups");
  if (b.x().shape().back() % groups != 0) {
    throw LayerError(fmt::format("has {} groups, but {}", groups, b.inputs[0].describe()),
                     "groups must divide the channels");
  }
  return scale_and_center(b, ir::normalize_groups(b.x(), groups, b.settings.number("epsilon")));
}

Expr instance_norm(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  return scale_and_center(
      b, ir::normalize_groups(b.x(), b.x().shape().back(), b.settings.number("epsilon")));
}

Expr local_response_norm(LayerBuilder& b) {
  need_floats(b);
  need_axis(b);
  const Settings& s = b.settings;
  return ir::local_response(b.x(), s.integer("radius"), s.number("bias"), s.number("alpha"),
                            s.number("beta"));
}

std::vector<Option> affine_options() {
  return {number_option("epsilon", 1e-3, "Added to the variance.", kNonNegative),
          boolean_option("center", true, "Whether there is a beta."),
          boolean_option("scale", true, "Whether there is a gamma."),
          initializer_option("beta", "zeros"), initializer_option("gamma", "ones")};
}

}  // namespace

std::vector<Layer> normalisation_layers() {
  std::vector<Option> batch = affine_options();
  batch.push_back(number_option("momentum", 0.99,
                                "Share of the old in a step's running mean and variance.", {0, 1}));
  batch.push_back(initializer_option("mean", "zeros"));
  batch.push_back(initializer_option("variance", "ones"));
  std::vector<Option> root{
      number_option("epsilon", 1e-6, "Added to the mean square.", kNonNegative),
      boolean_option("center", false, "Whether there is a beta."),
      boolean_option("scale", true, "Whether there is a gamma."),
      initializer_option("beta", "zeros"), initializer_option("gamma", "ones")};
  std::vector<Option> group = affine_options();
  group.insert(group.begin(),
               integer_option("groups", std::int64_t{32}, "Groups of channels.", {1, 1e9}));
  return {
      {"batch_norm",
       "Every channel minus its mean, by its standard deviation, over the batch and all places; "
       "then times gamma plus beta. Outside of training by the running mean and variance "
       "(Ioffe and Szegedy 2015).",
       1,
       1,
       std::move(batch),
       batch_norm,
       R"({"layer": "batch_norm", "momentum": 0.9})",
       {"f32[4,3]"},
       Decodes::features},
      {"layer_norm",
       "Mean 0 and variance 1 along the last axis, then times gamma plus beta.",
       1,
       1,
       affine_options(),
       layer_norm,
       R"({"layer": "layer_norm"})",
       {"f32[5]"},
       Decodes::features},
      {"rms_norm",
       "The mean square 1 along the last axis, then times gamma (Zhang and Sennrich 2019).",
       1,
       1,
       std::move(root),
       rms_norm,
       R"({"layer": "rms_norm"})",
       {"f32[5]"},
       Decodes::features},
      {"group_norm",
       "Mean 0 and variance 1 of every example and group of channels, then times gamma plus beta "
       "(Wu and He 2018).",
       1,
       1,
       std::move(group),
       group_norm,
       R"({"layer": "group_norm", "groups": 2})",
       {"f32[3,4]"}},
      {"instance_norm",
       "Mean 0 and variance 1 of every example and channel, then times gamma plus beta "
       "(Ulyanov et al. 2016).",
       1,
       1,
       affine_options(),
       instance_norm,
       R"({"layer": "instance_norm"})",
       {"f32[6,2]"}},
      {"local_response_norm",
       "x / (bias + alpha * sum of x^2 over radius channels on either side)^beta "
       "(Krizhevsky et al. 2012).",
       1,
       1,
       {integer_option("radius", std::int64_t{5}, "Channels on either side.", {0, 1e6}),
        number_option("bias", 1.0, "Keeps the power away from zero.", {1e-9, 1e9}),
        number_option("alpha", 1.0, "Of the squares.", kNonNegative),
        number_option("beta", 0.5, "The power.", {0, 1e3})},
       local_response_norm,
       R"({"layer": "local_response_norm", "radius": 1})",
       {"f32[3,4]"},
       Decodes::features},
  };
}

}  // namespace gradus::frontend
