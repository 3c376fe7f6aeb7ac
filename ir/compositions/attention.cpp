#include "ir/compositions/attention.h"

#include <array>
#include <cmath>
#include <vector>

#include "ir/compositions/activations.h"
#include "ir/compositions/indexing.h"
#include "ir/evaluate_scalar.h"
#include "ir/half_plane.h"
#include "ir/math.h"

namespace gradus::ir {
namespace {

/// Scores of keys that a query does not see: exp of what they are less than any other is 0.
constexpr double kUnseen = -1e30;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

void check_shapes(Expr query, Expr key, Expr value) {
  const auto fail = [&] {
    throw TypeError("attention of queries " + to_string(query.type()) + ", keys " +
                    to_string(key.type()) + ", values " + to_string(value.type()));
  };
  if (query.rank() != 4 || key.rank() != 4 || value.rank() != 4) fail();
  const Shape& q = query.shape();
  const Shape& k = key.shape();
  const Shape& v = value.shape();
  const bool groups = k[2] > 0 && q[2] % k[2] == 0 && k[2] == v[2];
  if (q[0] != k[0] || k[0] != v[0] || k[1] != v[1] || q[3] != k[3] || !groups) fail();
}

/// Which scores [batch, groups, heads * queries, keys] are those of keys up to the query, where
/// there are so many queries.
Expr before(Expr scores, std::int64_t queries) {
  const Shape& shape = scores.shape();
  Expr query = iota(*scores.graph, ElementType::i32, shape, 2);
  if (shape[2] != queries) {
    query = map("rem", query, full_like(query, static_cast<double>(queries)));
  }
  return map("less_equal", iota(*scores.graph, ElementType::i32, shape, 3), query);
}

/// [batch, positions, heads, width] as a matrix [positions, width] for every head of every batch.
Expr matrices(Expr x) { return transpose(x, {0, 2, 1, 3}); }

/// The same for every one of so many groups of heads: [batch, groups, heads * positions, width].
Expr matrices(Expr x, std::int64_t groups) {
  const Shape& shape = x.shape();
  const std::int64_t heads = shape[2] / groups;  // of a group
  return reshape(matrices(x), {shape[0], groups, heads * shape[1], shape[3]});
}

/// A program of one f64 operand.
double evaluate_function(std::string_view name, double x) {
  const ElementType f64 = ElementType::f64;
  ScalarBuilder builder({f64});
  const ScalarProgram program = builder.finish({builder.call(name, {builder.operand(0)})});
  const std::array<std::uint64_t, 1> operands{to_word(x)};
  std::array<std::uint64_t, 1> result{};
  evaluate(program, operands, {}, result, nullptr);
  return from_word<double>(result[0]);
}

struct Angle {
  double sine = 0;
  double cosine = 1;
};

/// By the series at a small part of the angle and repeated doubling: additions and products only,
/// the same on every machine.
Angle angle_of(double radians) {
  constexpr double kTurn = 6.283185307179586;
  constexpr double kTurnRest = 2.4492935982947064e-16;  // 2 pi - kTurn
  const double turns = std::floor(radians / kTurn + 0.5);
  const double rest = (radians - turns * kTurn) - turns * kTurnRest;
  constexpr int kDoublings = 4;
  const double x = rest / (1 << kDoublings);
  double sine = 0;
  double versed = 0;  // 1 - cosine, which keeps small angles exact
  double term = 1;
  for (int n = 1; n < 20; ++n) {
    term = term * x / n;
    if (n % 2 == 1) {
      sine += n % 4 == 1 ? term : -term;
    } else {
      versed += n % 4 == 2 ? term : -term;
    }
  }
  for (int i = 0; i < kDoublings; ++i) {
    const double twice = 2 * sine * (1 - versed);
    versed = 2 * sine * sine;
    sine = twice;
  }
  return {sine, 1 - versed};
}

/// f32 [positions, width / 2] of sines and of cosines.
struct Angles {
  Tensor sines;
  Tensor cosines;
};

Angles angles_of(std::int64_t positions, std::int64_t width, double base) {
  if (width < 2 || width % 2 != 0) {
    throw TypeError("positions turn pairs: an even width, found " + std::to_string(width));
  }
  const TensorType type{ElementType::f32, {positions, width / 2}};
  Angles result{Tensor(type), Tensor(type)};
  const double logarithm = evaluate_function("log", base);
  for (std::int64_t i = 0; i < width / 2; ++i) {
    const double exponent = -2 * static_cast<double>(i) / static_cast<double>(width);
    const double frequency = evaluate_function("exp", exponent * logarithm);
    for (std::int64_t position = 0; position < positions; ++position) {
      const Angle angle = angle_of(static_cast<double>(position) * frequency);
      const std::size_t element = at(position * (width / 2) + i);
      result.sines.as<float>()[element] = static_cast<float>(angle.sine);
      result.cosines.as<float>()[element] = static_cast<float>(angle.cosine);
    }
  }
  return result;
}

/// Half `half` of the last axis.
Expr half_of(Expr x, std::int64_t half) {
  const std::int64_t width = x.shape().back() / 2;
  Integers start(x.shape().size(), 0);
  Integers limit = x.shape();
  start.back() = half * width;
  limit.back() = start.back() + width;
  return slice(x, start, limit, Integers(start.size(), 1));
}

}  // namespace

Expr scaled_dot_product_attention(Expr query, Expr key, Expr value,
                                  const AttentionOptions& options) {
  check_shapes(query, key, value);
  const Shape q = query.shape();
  const std::int64_t groups = key.shape()[2];
  // Products that no query sees are left out, where rows are the positions of queries.
  std::optional<HalfPlane> of_scores, of_values;
  if (options.causal && q[2] == groups) {
    of_scores = {MatrixAxis::column, MatrixAxis::row, 0};
    of_values = {MatrixAxis::contracted, MatrixAxis::row, 0};
  }
  const DotAxes with_keys{{0, 1}, {0, 1}, {3}, {3}};
  const DotAxes with_values{{0, 1}, {0, 1}, {3}, {2}};
  Expr scores =
      dot(matrices(query, groups), matrices(key), with_keys, {}, of_scores) * options.scale;
  std::optional<Expr> past, counts;
  if (options.causal) counts = past = before(scores, q[1]);
  if (options.keys) {
    const Expr keys = broadcast(*options.keys, scores.shape(), {0, 3});
    counts = past ? map("and", *past, keys) : keys;
  }
  if (counts) scores = select(*counts, scores, full_like(scores, kUnseen));
  Expr weights = past ? masked_softmax(scores, *past) : softmax(scores);
  // Of a query that sees no key all scores are the same. One that sees itself sees one.
  if (options.keys) weights = select(*counts, weights, full_like(weights, 0));
  if (options.on_weights) weights = options.on_weights(weights);
  const Expr taken = dot(weights, matrices(value), with_values, {}, of_values);
  // The same transposition leads back.
  return matrices(reshape(taken, {q[0], q[2], q[1], value.shape()[3]}));
}

Rotation rotation(Graph& graph, std::int64_t positions, std::int64_t width, double base) {
  const Angles angles = angles_of(positions, width, base);
  return {constant(graph, angles.sines), constant(graph, angles.cosines)};
}

Expr rotate_positions(Expr x, const Rotation& by) {
  const Expr low = half_of(x, 0);
  const Expr high = half_of(x, 1);
  const Expr sine = broadcast(by.sines, low.shape(), {1, 3});
  const Expr cosine = broadcast(by.cosines, low.shape(), {1, 3});
  const std::vector<Expr> halves{low * cosine - high * sine, high * cosine + low * sine};
  return concat(halves, x.rank() - 1);
}

Expr sinusoidal_positions(Graph& graph, std::int64_t positions, std::int64_t width, double base) {
  const Rotation angles = rotation(graph, positions, width, base);
  const std::vector<Expr> halves{angles.sines, angles.cosines};
  return concat(halves, 1);
}

}  // namespace gradus::ir
