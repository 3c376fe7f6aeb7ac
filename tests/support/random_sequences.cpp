#include <algorithm>

#include "ir/compositions/activations.h"
#include "ir/compositions/attention.h"
#include "ir/compositions/indexing.h"
#include "tests/support/random_net.h"

namespace gradus::support {

using ir::Expr;

/// The features of every example, whatever they stand for, in a row.
Expr Net::flat(Expr x) {
  const std::int64_t examples = x.shape()[0];
  return ir::reshape(x, {examples, x.type().element_count() / std::max<std::int64_t>(examples, 1)});
}

/// [examples, positions, width] of x, or of embedded tokens, most of which know x.
Expr Net::tokens(Expr x, std::int64_t positions, std::int64_t width) {
  const Shape shape{x.shape()[0], positions, width};
  if (random_.chance(0.5)) return ir::reshape(projected(x, positions * width), shape);
  const std::int64_t vocabulary = extent(9);
  const Expr index = token_indices(positions, vocabulary);
  const Expr embedded = ir::gather(parameter({vocabulary, width}), index, 0);
  if (random_.chance(0.2)) return embedded;
  const Expr y = embedded + ir::broadcast(projected(x, width), shape, {0, 2});
  if (random_.chance(0.5)) return y;
  return y + ir::broadcast(parameter({positions, width}), shape, {1, 2});
}

/// Rows times a parameter, or what a gather takes rows of times one.
Expr Net::product(Expr rows, std::int64_t width) {
  const Expr kernel = parameter({rows.shape().back(), width});
  return ir::map_rows(rows,
                      [&](Expr x) { return ir::dot(x, kernel, {{}, {}, {x.rank() - 1}, {0}}); });
}

/// [examples, positions, count, width] of tokens.
Expr Net::heads(Expr tokens, std::int64_t count, std::int64_t width) {
  const Shape& shape = tokens.shape();
  const Expr y = product(tokens, count * width);
  return ir::reshape(y, {shape[0], shape[1], count, width});
}

/// Of any number of heads that share keys and values in groups, within a sequence or between two,
/// with what there is of masks, dropout and rotation.
Expr Net::attention(Expr x) {
  if (options_.many || random_.chance(0.15)) return attention_over_examples(x);
  // Sometimes the scores are large enough to be made again, and small enough for a task.
  const bool longer = random_.chance(0.3);
  const auto positions = [&](std::int64_t most) {
    return longer ? random_.between(32, 48) : extent(most);
  };
  const std::int64_t queries = positions(9);
  const std::int64_t groups = random_.between(1, 2);
  const std::int64_t count = groups * random_.between(1, 3);
  const bool rotary = x.element() == ElementType::f32 && random_.chance(0.25);
  const std::int64_t width = rotary ? 2 * random_.between(1, 2) : random_.between(1, 5);
  const Expr to = tokens(x, queries, extent(8));
  const Expr from = random_.chance(0.6) ? to : tokens(x, positions(11), extent(8));
  const std::int64_t keys = from.shape()[1];
  Expr query = heads(to, count, width);
  Expr key = heads(from, groups, width);
  const Expr value = heads(from, groups, random_.between(1, 5));
  if (rotary) {
    query = ir::rotate_positions(query, ir::rotation(step_.graph, queries, width, 100));
    key = ir::rotate_positions(key, ir::rotation(step_.graph, keys, width, 100));
  }
  ir::AttentionOptions options{.scale = 0.5, .causal = random_.chance(0.4)};
  if (random_.chance(0.4)) {
    // The keys of every example; 0 too.
    const Expr length = ir::reshape(token_indices(1, keys + 1), {x.shape()[0]});
    const Shape all{x.shape()[0], keys};
    options.keys = ir::map("less", ir::iota(step_.graph, ElementType::i32, all, 1),
                           ir::broadcast(length, all, {0}));
  }
  if (random_.chance(0.3)) {
    options.on_weights = [&, dropped = stream()](Expr weights) {
      return ir::select(step_.bernoulli(weights.shape(), dropped), weights / 0.75,
                        ir::full_like(weights, 0));
    };
  }
  const Expr y = ir::scaled_dot_product_attention(query, key, value, options);
  return random_.chance(0.5) ? flat(y) : flat(ir::mean(y, {1}));
}

/// The examples are the positions of one sequence, in a long one more than are kept scores.
Expr Net::attention_over_examples(Expr x) {
  const std::int64_t examples = x.shape()[0];
  if (!options_.many && random_.chance(0.5)) {
    return ir::matmul(ir::softmax(ir::dot(x, x, {{}, {}, {1}, {1}}) * 0.3), x);
  }
  const std::int64_t groups = random_.between(1, 2), width = random_.between(1, 8);
  const std::int64_t count = groups * random_.between(1, 2);
  const Expr one = ir::reshape(x, {1, examples, x.shape()[1]});
  const Expr query = heads(one, count, width);
  const Expr key = heads(one, groups, width);
  const ir::AttentionOptions options{.scale = 0.5, .causal = random_.chance(0.5)};
  const Expr y = ir::scaled_dot_product_attention(query, key, heads(one, groups, width), options);
  return ir::reshape(y, {examples, count * width});
}

/// One or two layers of cells, in one direction or both, over [positions, examples, width].
Expr Net::recurrent(Expr x) {
  if (options_.many) return rows(x);
  const std::int64_t positions = random_.between(1, 6);
  Expr sequence = ir::transpose(tokens(x, positions, extent(7)), {1, 0, 2});
  for (std::int64_t i = random_.chance(0.3) ? 2 : 1; i > 0; --i) {
    const int cell = static_cast<int>(random_.between(0, 3));
    const std::int64_t units = extent(17);
    const bool both = random_.chance(0.3), backwards = random_.chance(0.3);
    const Expr one = one_direction(sequence, cell, backwards, units);
    if (both) {
      const Expr directions[] = {one, one_direction(sequence, cell, !backwards, units)};
      sequence = ir::concat(directions, 2);
    } else {
      sequence = one;
    }
  }
  const Shape& s = sequence.shape();
  switch (random_.between(0, 2)) {
    case 0:
      return flat(ir::transpose(sequence, {1, 0, 2}));
    case 1:
      return ir::mean(sequence, {0});
    default:
      return ir::reshape(
          ir::slice(sequence, {positions - 1, 0, 0}, {positions, s[1], s[2]}, {1, 1, 1}),
          {s[1], s[2]});
  }
}

/// What a cell gives at every position; sometimes it starts from a parameter, or from what the step
/// before has left.
Expr Net::one_direction(Expr sequence, int cell, bool backwards, std::int64_t units) {
  constexpr int kLstm = 1, kGruBefore = 2, kGruAfter = 3;
  const std::int64_t gates = cell == 0 ? 1 : cell == kLstm ? 4 : 3;
  const Shape& s = sequence.shape();
  Expr z = product(sequence, gates * units);
  z = z + ir::broadcast(parameter({gates * units}), z.shape(), {2});
  ir::Recurrence r{z, parameter({units, gates * units}), {}, {}};
  const auto sigmoid = [](Expr v) { return ir::map("sigmoid", v); };
  r.functions = {random_.chance(0.7) ? [](Expr v) { return ir::map("tanh", v); } : ir::relu,
                 sigmoid};
  r.backwards = backwards;
  if (cell == kGruAfter) r.bias = parameter({gates * units});
  if (random_.chance(0.3)) {
    const Shape all{s[0], s[1]};
    const Expr length = ir::reshape(token_indices(1, s[0] + 1), {s[1]});
    r.there = ir::map("less", ir::iota(step_.graph, ElementType::i32, all, 0),
                      ir::broadcast(length, all, {1}));
  }
  const std::size_t carried = cell == kLstm ? 2 : 1;
  std::string kept;
  if (random_.chance(0.3) && step_.runs == 1) {
    kept = name_ + "carried" + std::to_string(next_name_++);
    for (std::size_t i = 0; i < carried; ++i) {
      r.first.push_back(
          step_.state_value(kept + std::to_string(i), {sequence.element(), {s[1], units}}));
    }
  } else if (random_.chance(0.3)) {
    for (std::size_t i = 0; i < carried; ++i) {
      r.first.push_back(ir::broadcast(parameter({units}), {s[1], units}, {1}));
    }
  }
  const ir::RecurrenceResults results = cell == 0       ? ir::simple_rnn(r)
                                        : cell == kLstm ? ir::lstm(r)
                                                        : ir::gru(r, cell != kGruBefore);
  for (std::size_t i = 0; i < carried && !kept.empty(); ++i) {
    step_.state.at(kept + std::to_string(i)) = ir::stop_gradient(results.carried[i]);
  }
  return results.all;
}

}  // namespace gradus::support
