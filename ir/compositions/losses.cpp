#include "ir/compositions/losses.h"

#include "ir/compositions/activations.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

constexpr double kEpsilon = 1e-7;  // probabilities are kept this far from 0 and 1, as in Keras

Expr mean_all(Expr x) { return sum_all(x) / static_cast<double>(x.type().element_count()); }

void same_shape(Expr prediction, Expr target) {
  if (prediction.type() != target.type()) {
    throw TypeError("prediction " + to_string(prediction.type()) + " and target " +
                    to_string(target.type()) + " differ");
  }
}

/// One-hot of integer classes along a new last axis, as bool. A class that does not exist is a
/// fault.
Expr one_hot(Expr classes, const Shape& shape) {
  Graph& graph = *classes.graph;
  const auto last = static_cast<std::int64_t>(shape.size()) - 1;
  if (classes.element() != ElementType::i32 ||
      classes.shape() != Shape(shape.begin(), shape.end() - 1)) {
    throw TypeError("class labels must be i32" + to_string(Shape(shape.begin(), shape.end() - 1)) +
                    ", found " + to_string(classes.type()));
  }
  const Expr checked = apply("check_index", {classes}, {{"extent", shape.back()}});
  const NodeId iota =
      graph.add(op("iota"), {}, {{"element", ElementType::i32}, {"shape", shape}, {"axis", last}});
  return map("equal", Expr{&graph, {iota, 0}}, broadcast_reduced(checked, shape, {last}));
}

Expr squared_error(Expr p, Prediction, Expr t) {
  same_shape(p, t);
  const Expr d = p - t;
  return mean_all(d * d);
}
Expr absolute_error(Expr p, Prediction, Expr t) {
  same_shape(p, t);
  return mean_all(map("abs", p - t));
}

Expr binary_cross_entropy(Expr p, Prediction kind, Expr t) {
  same_shape(p, t);
  if (kind == Prediction::logit) return mean_all(softplus(p) - p * t);
  const Expr q = clamp(p, kEpsilon, 1 - kEpsilon);
  return mean_all(-(t * map("log", q) + (1.0 - t) * map("log", 1.0 - q)));
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
Expr categorical_cross_entropy(Expr p, Prediction kind, Expr t) {
  same_shape(p, t);
  return mean_all(-sum(t * log_probabilities(p, kind), {p.rank() - 1}));
}
Expr sparse_categorical_cross_entropy(Expr p, Prediction kind, Expr t) {
  const Integers axes{p.rank() - 1};
  if (kind == Prediction::logit && p.rank() >= 2) {
    const Expr own = sum(select(one_hot(t, p.shape()), p, full_like(p, 0)), axes);
    return mean_all(logsumexp(p) - own);
  }
  const Expr log_p = log_probabilities(p, kind);
  return mean_all(-sum(select(one_hot(t, p.shape()), log_p, full_like(p, 0)), axes));
}

Expr accuracy(Expr p, Prediction kind, Expr t) {
  Expr right;
  if (t.element() == ElementType::i32) {
    right = map("equal", reduce("arg_max", p, {p.rank() - 1}), t);
  } else if (p.rank() >= 2 && p.shape().back() > 1) {
    same_shape(p, t);
    right =
        map("equal", reduce("arg_max", p, {p.rank() - 1}), reduce("arg_max", t, {t.rank() - 1}));
  } else {
    same_shape(p, t);
    const Expr positive = map("greater", p, full_like(p, kind == Prediction::logit ? 0 : 0.5));
    right = map("equal", cast(positive, t.element()), t);
  }
  return mean_all(cast(right, p.element()));
}

Expr mean_value(Expr p, Prediction, Expr) { return mean_all(p); }

constexpr Loss kLosses[] = {
    {"mean_squared_error", "Mean of (prediction - target)^2.", false, true, squared_error},
    {"mean_absolute_error", "Mean of |prediction - target|.", false, true, absolute_error},
    {"binary_cross_entropy", "Mean of -t log p - (1 - t) log(1 - p).", true, true,
     binary_cross_entropy},
    {"categorical_cross_entropy", "Mean over examples of -sum of t log p over classes.", true, true,
     categorical_cross_entropy},
    {"sparse_categorical_cross_entropy", "Mean over examples of -log p of the labelled class.",
     true, true, sparse_categorical_cross_entropy},
    {"mean", "Mean of the values, which are compared with nothing.", false, false, mean_value},
};
constexpr Metric kMetrics[] = {
    {"accuracy", "Share of examples whose greatest class (or threshold) is the target's.",
     Aggregation::mean, accuracy},
    {"mean_squared_error", "Mean of (prediction - target)^2.", Aggregation::mean, squared_error},
    {"mean_absolute_error", "Mean of |prediction - target|.", Aggregation::mean, absolute_error},
    {"root_mean_squared_error", "Square root of the mean of (prediction - target)^2.",
     Aggregation::root_of_mean, squared_error},
};

}  // namespace

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
