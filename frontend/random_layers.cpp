// Layers that draw numbers, and what adversarial and variational nets make of them.

#include <fmt/format.h>

#include "frontend/layer_families.h"
#include "passes/differentiate.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

void need_one_type(const LayerBuilder& b) {
  need_floats(b);
  if (b.inputs[0].value.type() == b.inputs[1].value.type()) return;
  throw LayerError(fmt::format("needs inputs of one type, but {} and {}", b.inputs[0].describe(),
                               b.inputs[1].describe()));
}

/// Every axis but the batch's.
ir::Integers example_axes(Expr x) {
  ir::Integers axes;
  for (std::int64_t axis = 1; axis < x.rank(); ++axis) axes.push_back(axis);
  return axes;
}

Expr noise(LayerBuilder& b) {
  Shape shape = b.settings.integers("shape");
  shape.insert(shape.begin(), b.batch);
  if (!is_valid(shape)) {
    throw LayerError(fmt::format("would give {}: too large", to_string(shape)));
  }
  const Choice& choice = b.settings.choice("distribution");
  if (choice.name == "normal") {
    return draw(b, "random_normal", shape, "noise") * choice.settings.number("deviation");
  }
  const double low = choice.settings.number("low");
  const double high = choice.settings.number("high");
  return draw(b, "random_uniform", shape, "noise") * (high - low) + low;
}

Expr gaussian_noise(LayerBuilder& b) {
  need_floats(b);
  const double deviation = b.settings.number("deviation");
  if (!b.training() || deviation == 0) return b.x();
  return b.x() + draw(b, "random_normal", b.x().shape(), "noise") * deviation;
}

Expr gaussian_sample(LayerBuilder& b) {
  need_one_type(b);
  const Expr mean = b.x();
  if (!b.training()) return mean;
  const Expr deviation = ir::map("exp", b.inputs[1].value * 0.5);
  return mean + deviation * draw(b, "random_normal", mean.shape(), "noise");
}

Expr gaussian_divergence(LayerBuilder& b) {
  need_one_type(b);
  const Expr mean = b.x();
  const Expr log_variance = b.inputs[1].value;
  const Expr terms = ir::map("exp", log_variance) + mean * mean - 1.0 - log_variance;
  return ir::sum(terms, example_axes(terms)) * 0.5;
}

Expr random_interpolation(LayerBuilder& b) {
  need_one_type(b);
  const Expr first = b.x();
  const Expr second = b.inputs[1].value;
  const Expr share =
      ir::broadcast(draw(b, "random_uniform", {b.batch}, "share"), first.shape(), {0});
  return first * share + second * (1.0 - share);
}

Expr random_mask(LayerBuilder& b) {
  const std::int64_t stream = b.streams.of(b.path + "/mask", b.where);
  if (b.purpose == Purpose::prediction)
    return ir::full(b.graph, {ElementType::f32, b.x().shape()}, 0);
  const Expr chosen = ir::apply(
      "random_bernoulli", {b.seed(), b.step()},
      {{"shape", b.x().shape()}, {"stream", stream}, {"probability", b.settings.number("rate")}});
  return ir::cast(chosen, ElementType::f32);
}

/// Whole numbers below `limit`, all equally likely.
Expr draw_tokens(LayerBuilder& b, Expr like, double limit) {
  const Expr uniform = draw(b, "random_uniform", like.shape(), "token") * limit;
  const Expr below = ir::map("min", ir::map("floor", uniform), ir::full_like(uniform, limit - 1));
  return ir::cast(below, like.element());
}

Expr mask_tokens(LayerBuilder& b) {
  need_indices(b);
  const Expr tokens = b.x();
  const Expr chosen = b.inputs[1].value;
  if (chosen.shape() != tokens.shape()) {
    throw LayerError(fmt::format("needs a mask of the tokens' shape, but {} and {}",
                                 b.inputs[0].describe(), b.inputs[1].describe()));
  }
  const double masked = b.settings.number("masked");
  const double random = b.settings.number("random");
  if (masked + random > 1) {
    throw LayerError(
        fmt::format("has shares that add up to more than 1: masked {}, random {}", masked, random));
  }
  for (const char* option : {"token", "vocabulary"}) {
    const std::int64_t greatest = b.settings.integer(option) - (option[0] == 'v' ? 1 : 0);
    if (tokens.element() == ElementType::u8 && greatest > 255) {
      throw LayerError(
          fmt::format("has tokens up to {}, but {}", greatest, b.inputs[0].describe()));
    }
  }
  if (b.purpose == Purpose::prediction) return tokens;
  const Expr share = draw(b, "random_uniform", tokens.shape(), "share");
  const auto below = [&](double limit) {
    return ir::map("less", share, ir::full_like(share, limit));
  };
  const Expr drawn = draw_tokens(b, tokens, static_cast<double>(b.settings.integer("vocabulary")));
  const Expr mask = ir::full_like(tokens, static_cast<double>(b.settings.integer("token")));
  const Expr changed =
      ir::select(below(masked), mask, ir::select(below(masked + random), drawn, tokens));
  const Expr is_chosen = chosen.element() == ElementType::boolean
                             ? chosen
                             : ir::map("not_equal", chosen, ir::full_like(chosen, 0));
  return ir::select(is_chosen, changed, tokens);
}

Expr gradient(LayerBuilder& b) {
  need_floats(b);
  const Expr of = ir::sum_all(b.x());
  const Expr variable = b.inputs[1].value;
  if (!passes::reach(of, {&variable, 1}).front()) {
    throw LayerError(fmt::format("differentiates '{}', which does not depend on '{}'",
                                 b.inputs[0].name, b.inputs[1].name));
  }
  return passes::gradients(of, {&variable, 1}).front();
}

Expr norm(LayerBuilder& b) {
  need_floats(b);
  const Expr x = b.x();
  return ir::map("sqrt", ir::sum(x * x, example_axes(x)) + b.settings.number("epsilon"));
}

Option distribution_option() {
  constexpr Range any{-1e6, 1e6};
  return choice_option("distribution", "normal", "What is drawn.",
                       {{"normal",
                         "Mean 0.",
                         {number_option("deviation", 1.0, "Standard deviation.", kNonNegative)}},
                        {"uniform",
                         "From low to high.",
                         {number_option("low", -1.0, "Least.", any),
                          number_option("high", 1.0, "Greatest.", any)}}});
}

}  // namespace

std::vector<Layer> random_layers() {
  return {
      {"noise",
       "Random numbers of a shape per example, new in every run of every step; also outside of "
       "training.",
       0,
       0,
       {integers_option("shape", {}, "Extents of an example.", {1, kWhole}), distribution_option()},
       noise,
       R"({"layer": "noise", "shape": [2]})",
       {}},
      {"gaussian_noise",
       "In training adds normal random numbers.",
       1,
       1,
       {number_option("deviation", {}, "Their standard deviation.", kNonNegative)},
       gaussian_noise,
       R"({"layer": "gaussian_noise", "deviation": 0.1})",
       {"f32[5]"}},
      {"gaussian_sample",
       "From a mean and the logarithm of a variance: in training mean + exp(log_variance / 2) * "
       "noise, so that gradients reach both (Kingma and Welling 2013); else the mean.",
       2,
       2,
       {},
       gaussian_sample,
       R"({"layer": "gaussian_sample"})",
       {"f32[5]", "f32[5]"}},
      {"gaussian_divergence",
       "From a mean and the logarithm of a variance: the Kullback-Leibler divergence of that "
       "normal "
       "distribution from the standard one, a number per example.",
       2,
       2,
       {},
       gaussian_divergence,
       R"({"layer": "gaussian_divergence"})",
       {"f32[5]", "f32[5]"}},
      {"random_interpolation",
       "A point between two inputs, uniformly drawn for each example.",
       2,
       2,
       {},
       random_interpolation,
       R"({"layer": "random_interpolation"})",
       {"f32[5]", "f32[5]"}},
      {"random_mask",
       "1 with probability rate, else 0, for every element of the input: what is hidden in "
       "training "
       "and evaluation, new in every run of every step. In predictions, which hide nothing, 0.",
       1,
       1,
       {number_option("rate", {}, "Share of ones.", {0, 1})},
       random_mask,
       R"({"layer": "random_mask", "rate": 0.15})",
       {"i32[5]"}},
      {"mask_tokens",
       "From tokens and a mask: where the mask is not 0, most tokens become the one that stands "
       "for a masked token, some a random one, and the others stay (Devlin et al. 2018); new in "
       "every run of every step of training and evaluation. In predictions all stay.",
       2,
       2,
       {integer_option("token", {}, "What stands for a masked token.", {0, 2147483647.0}),
        integer_option("vocabulary", {}, "Random tokens are below this.", {1, 16777216}),
        number_option("masked", 0.8, "Share of the chosen that become `token`.", {0, 1}),
        number_option("random", 0.1, "Share of the chosen that become a random token.", {0, 1})},
       mask_tokens,
       R"({"layer": "mask_tokens", "token": 9, "vocabulary": 9})",
       {"i32[5]", "f32[5]"}},
      {"gradient",
       "The gradient of the first input, summed over all of its elements, with respect to the "
       "second, on which it depends. Losses of it have gradients of second order.",
       2,
       2,
       {},
       gradient,
       R"({"layer": "gradient"})",
       {},
       Decodes::no,
       false,
       true},
      {"norm",
       "The Euclidean norm of an example, sqrt(epsilon + sum of squares): a number per example.",
       1,
       1,
       {number_option("epsilon", 1e-12, "Keeps the gradient finite at 0.", kNonNegative)},
       norm,
       R"({"layer": "norm"})",
       {"f32[5]"}},
  };
}

}  // namespace gradus::frontend
