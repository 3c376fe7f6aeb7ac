#include "ir/compositions/losses.h"

#include <algorithm>

#include "ir/compositions/activations.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

constexpr double kEpsilon = 1e-7;  // probabilities are kept this far from 0 and 1, as in Keras

Expr mean_all(Expr x) { return sum_all(x) / static_cast<double>(x.type().element_count()); }

/// The weights as floats of the shape of `values`; throws TypeError when they do not fit.
Expr spread(Expr weights, Expr values) {
  const Shape& shape = values.shape();
  Integers axes;
  for (std::int64_t axis = 0; axis < weights.rank(); ++axis) axes.push_back(axis);
  const bool fits = weights.rank() > 0 && weights.rank() <= values.rank() &&
                    std::equal(weights.shape().begin(), weights.shape().end(), shape.begin());
  if (!fits) {
    throw TypeError("sample_weights " + to_string(weights.type()) + " for values of " +
                    to_string(shape));
  }
  const Expr numbers =
      weights.element() == values.element() ? weights : cast(weights, values.element());
  return numbers.shape() == shape ? numbers : broadcast(numbers, shape, axes);
}

/// The mean of `values` by the weights, if there are any.
Expr mean_of(Expr values, const Compared& c) {
  if (!c.weights) return mean_all(values);
  const Expr weights = spread(*c.weights, values);
  const Expr total = sum_all(weights);
  const Expr none = map("equal", total, full_like(total, 0));
  return sum_all(values * weights) / select(none, full_like(total, 1), total);
}

void same_shape(Expr prediction, Expr target) {
  if (prediction.type() != target.type()) {
    throw TypeError("prediction " + to_string(prediction.type()) + " and target " +
                    to_string(target.type()) + " differ");
  }
}

/// A class that does not exist is a fault.
Expr checked_classes(Expr classes, std::int64_t count) {
  return apply("check_index", {classes}, {{"extent", count}});
}

/// One-hot of integer classes along a new last axis, as bool.
Expr one_hot(Expr classes, const Shape& shape) {
  Graph& graph = *classes.graph;
  const auto last = static_cast<std::int64_t>(shape.size()) - 1;
  if (classes.element() != ElementType::i32 ||
      classes.shape() != Shape(shape.begin(), shape.end() - 1)) {
    throw TypeError("class labels must be i32" + to_string(Shape(shape.begin(), shape.end() - 1)) +
                    ", found " + to_string(classes.type()));
  }
  const Expr checked = checked_classes(classes, shape.back());
  const NodeId iota =
      graph.add(op("iota"), {}, {{"element", ElementType::i32}, {"shape", shape}, {"axis", last}});
  return map("equal", Expr{&graph, {iota, 0}}, broadcast_reduced(checked, shape, {last}));
}

Expr squared_error(const Compared& c) {
  same_shape(c.prediction, c.target);
  const Expr d = c.prediction - c.target;
  return mean_of(d * d, c);
}
Expr absolute_error(const Compared& c) {
  same_shape(c.prediction, c.target);
  return mean_of(map("abs", c.prediction - c.target), c);
}

Expr binary_cross_entropy(const Compared& c) {
  const Expr p = c.prediction;
  const Expr t = c.target;
  same_shape(p, t);
  if (c.kind == Prediction::logit) return mean_of(softplus(p) - p * t, c);
  const Expr q = clamp(p, kEpsilon, 1 - kEpsilon);
  return mean_of(-(t * map("log", q) + (1.0 - t) * map("log", 1.0 - q)), c);
}

/// log p of every class.
Expr log_probabilities(Expr p, Prediction kind) {
  if (p.rank() < 2) {
    throw TypeError("class predictions need a class axis, found " + to_string(p.type()));
  }
  if (kind == Prediction::logit) return log_softmax(p);
  const Integers axes{p.rank() - 1};
  const Expr normalized = p / broadcast_reduced(sum(p, axes), p.shape(), axes);
  return map("log", clamp(normalized, kEpsilon, 1 - kEpsilon));
}
Expr categorical_cross_entropy(const Compared& c) {
  const Expr p = c.prediction;
  same_shape(p, c.target);
  return mean_of(-sum(c.target * log_probabilities(p, c.kind), {p.rank() - 1}), c);
}
Expr sparse_categorical_cross_entropy(const Compared& c) {
  const Expr p = c.prediction;
  const Integers axes{p.rank() - 1};
  if (c.kind == Prediction::logit && p.rank() >= 2) {
    const Expr own = sum(select(one_hot(c.target, p.shape()), p, full_like(p, 0)), axes);
    return mean_of(logsumexp(p) - own, c);
  }
  const Expr log_p = log_probabilities(p, c.kind);
  return mean_of(-sum(select(one_hot(c.target, p.shape()), log_p, full_like(p, 0)), axes), c);
}

/// Whether the greatest class (or threshold) is the target's, as bool.
Expr is_right(const Compared& c) {
  const Expr p = c.prediction;
  const Expr t = c.target;
  if (t.element() == ElementType::i32) {
    const Expr best = reduce("arg_max", p, {p.rank() - 1});  // no axis, no classes: it throws
    return map("equal", best, checked_classes(t, p.shape().back()));
  }
  same_shape(p, t);
  if (p.rank() >= 2 && p.shape().back() > 1) {
    return map("equal", reduce("arg_max", p, {p.rank() - 1}), reduce("arg_max", t, {t.rank() - 1}));
  }
  const Expr positive = map("greater", p, full_like(p, c.kind == Prediction::logit ? 0 : 0.5));
  return map("equal", cast(positive, t.element()), t);
}

Expr accuracy(const Compared& c) { return mean_of(cast(is_right(c), c.prediction.element()), c); }

Expr sequence_accuracy(const Compared& c) {
  const ElementType element = c.prediction.element();
  const Expr right = is_right(c);
  Expr wrong = cast(map("not", right), element);
  Integers positions;
  for (std::int64_t axis = 1; axis < wrong.rank(); ++axis) positions.push_back(axis);
  const auto none = [&](Expr numbers) {
    const Expr count = positions.empty() ? numbers : sum(numbers, positions);
    return map("equal", count, full_like(count, 0));
  };
  if (!c.weights) return mean_all(cast(none(wrong), element));
  const Expr weights = spread(*c.weights, wrong);
  const Expr counts = map("not_equal", weights, full_like(weights, 0));
  const Expr there = map("not", none(cast(counts, element)));
  const Expr whole = none(select(counts, wrong, full_like(wrong, 0)));
  const Expr total = sum_all(cast(there, element));
  return sum_all(cast(map("and", whole, there), element)) / map("max", total, full_like(total, 1));
}

Expr mean_value(const Compared& c) { return mean_of(c.prediction, c); }

/// `x`, but `constant` where the weights of its first axes are 0.
Expr without_ignored(Expr x, Expr weights, double constant) {
  const Shape& shape = x.shape();
  Integers axes;
  for (std::int64_t axis = 0; axis < weights.rank(); ++axis) axes.push_back(axis);
  const bool fits = weights.rank() <= x.rank() &&
                    std::equal(weights.shape().begin(), weights.shape().end(), shape.begin());
  if (!fits) return x;  // the mean says what is wrong
  const Expr ignored = map("equal", weights, full_like(weights, 0));
  const Expr all = weights.shape() == shape ? ignored : broadcast(ignored, shape, axes);
  return select(all, full_like(x, constant), x);
}

/// What has weight 0 is compared as if it were these constants, whose terms are finite: times 0,
/// neither they nor their gradients are anything, whatever was there.
template <Expr (*formula)(const Compared& c)>
Expr of_what_counts(const Compared& c) {
  if (!c.weights) return formula(c);
  Compared counted = c;
  const double harmless = c.kind == Prediction::probability ? 1 : 0;  // its logarithm is finite
  counted.prediction = without_ignored(c.prediction, *c.weights, harmless);
  if (c.target.graph) counted.target = without_ignored(c.target, *c.weights, 0);
  return formula(counted);
}

constexpr Loss kLosses[] = {
    {"mean_squared_error", "Mean of (prediction - target)^2.", false, true,
     of_what_counts<squared_error>},
    {"mean_absolute_error", "Mean of |prediction - target|.", false, true,
     of_what_counts<absolute_error>},
    {"binary_cross_entropy", "Mean of -t log p - (1 - t) log(1 - p).", true, true,
     of_what_counts<binary_cross_entropy>},
    {"categorical_cross_entropy", "Mean over examples of -sum of t log p over classes.", true, true,
     of_what_counts<categorical_cross_entropy>},
    {"sparse_categorical_cross_entropy", "Mean over examples of -log p of the labelled class.",
     true, true, of_what_counts<sparse_categorical_cross_entropy>},
    {"mean", "Mean of the values, which are compared with nothing.", false, false,
     of_what_counts<mean_value>},
};
constexpr Metric kMetrics[] = {
    {"accuracy", "Share of examples whose greatest class (or threshold) is the target's.",
     Aggregation::mean, of_what_counts<accuracy>},
    {"sequence_accuracy",
     "Share of examples all of whose positions are right (those of weight 0 do not count).",
     Aggregation::mean, of_what_counts<sequence_accuracy>},
    {"mean_squared_error", "Mean of (prediction - target)^2.", Aggregation::mean,
     of_what_counts<squared_error>},
    {"mean_absolute_error", "Mean of |prediction - target|.", Aggregation::mean,
     of_what_counts<absolute_error>},
    {"root_mean_squared_error", "Square root of the mean of (prediction - target)^2.",
     Aggregation::root_of_mean, of_what_counts<squared_error>},
};

}  // namespace

Expr counts(Expr weights) {
  const bool floats = weights.element() == ElementType::f32;
  const Expr total = sum_all(floats ? weights : cast(weights, ElementType::f32));
  return cast(map("not_equal", total, full_like(total, 0)), ElementType::f32);
}

std::span<const Loss> losses() { return kLosses; }
std::span<const Metric> metrics() { return kMetrics; }

const Loss* find_loss(std::string_view name) {
  for (const Loss& loss : kLosses) {
    if (loss.name == name) return &loss;
  }
  return nullptr;
}
const Metric* find_metric(std::string_view name) {
  for (const Metric& metric : kMetrics) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

}  // namespace gradus::ir
