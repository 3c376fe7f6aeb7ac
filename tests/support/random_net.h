#pragma once

// Nets of random layers, and the training step that they are used in.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/compositions/recurrent.h"
#include "ir/expr.h"
#include "tests/support/random.h"

namespace gradus::support {

/// A training step under construction, as a sequence of runs: each sees its part of the examples,
/// the state as the runs before have left it, and random numbers of its own.
struct RandomStep {
  ir::Graph graph{"train_step"};
  ElementType element = ElementType::f32;
  std::int64_t batch = 1;   // examples of the step
  std::int64_t runs = 1;    // of the step
  std::uint32_t lines = 0;  // of its file
  std::map<std::string, ir::Expr> state;
  // Of the run:
  std::int64_t run = 0;
  std::int64_t first = 0;
  std::int64_t examples = 1;

  /// What the runs before have made is a constant for the next one.
  void start(std::int64_t number, std::int64_t first_example, std::int64_t count);
  /// Nodes from now on come from a line of their own.
  void enter(const std::string& layer, ir::Role role);

  /// The examples of the run; `example` is the type of one.
  ir::Expr input(const std::string& name, TensorType example);
  ir::Expr state_value(const std::string& name, const TensorType& type);
  /// The counter that steps add 1 to, as it counts what each has `count` of: by number `index`.
  struct Count {
    std::int64_t index = 0;
    std::int64_t count = 1;
  };
  ir::Expr counter(const std::string& name, Count of);
  /// "seed", or "step" as it counts runs.
  ir::Expr counter(const std::string& name);
  /// "random_normal" and the like.
  ir::Expr draw(std::string_view op, const Shape& shape, std::int64_t stream);
  ir::Expr bernoulli(const Shape& shape, std::int64_t stream);
};

/// A net, [examples, features] to [examples, other features]. Its seed tells the layers, so that
/// every use has the same ones and the same parameters, as it stands in the step's state.
class Net {
 public:
  struct Options {
    std::int64_t layers = 1;
    std::int64_t width = 0;  // of the result; 0: any
    bool many = false;       // examples: many parts and blocks
  };
  Net(RandomStep& step, std::string name, std::uint64_t seed, Options options)
      : step_(step), name_(std::move(name)), seed_(seed), options_(options), random_(seed) {}

  ir::Expr operator()(ir::Expr x);
  /// Their names, in the order in which the net has asked for them.
  [[nodiscard]] const std::vector<std::string>& parameters() const { return parameters_; }

 private:
  using Expr = ir::Expr;

  Expr layer(Expr x);
  std::int64_t extent(std::int64_t greatest);
  Expr parameter(const Shape& shape);
  Expr column_parameter(Expr x);
  Expr activated(Expr x);
  Expr projected(Expr x, std::int64_t features);
  std::int64_t stream() { return random_.between(0, 99); }

  // Layers that know rows and columns only.
  Expr dense(Expr x);
  Expr registry_op(const std::vector<Expr>& x);
  Expr unary(Expr x);
  Expr binary(Expr x);
  Expr ternary(Expr x);
  Expr rows(Expr x);
  Expr columns(Expr x);
  Expr residual(Expr x);
  Expr dropout(Expr x);
  Expr move(Expr x);
  Expr extrema(Expr x);
  Expr folded(Expr x);
  Expr by_index(Expr x);
  Expr precise(Expr x);
  Expr running(Expr x);

  // Positions that are values.
  Expr table(Expr x);
  Expr sorted(Expr x);
  Expr segments(Expr x);
  Expr chosen(Expr x);

  // Images.
  Expr image(Expr x);
  Expr convolved(Expr x);
  Expr channel_norm(Expr x);
  Expr pooled(Expr x);

  // Sequences: [examples, positions, width].
  Expr tokens(Expr x, std::int64_t positions, std::int64_t width);
  Expr token_indices(std::int64_t positions, std::int64_t vocabulary);
  Expr flat(Expr x);
  Expr attention(Expr x);
  Expr attention_over_examples(Expr x);
  Expr product(Expr rows, std::int64_t width);
  Expr heads(Expr tokens, std::int64_t count, std::int64_t width);
  Expr recurrent(Expr x);
  Expr one_direction(Expr sequence, int cell, bool backwards, std::int64_t units);
  class Loop;
  Expr loop(Expr x);

  RandomStep& step_;
  std::string name_;
  std::uint64_t seed_;
  Options options_;
  Random random_;
  std::vector<std::string> parameters_;
  std::size_t next_parameter_ = 0;
  int next_name_ = 0;
};

}  // namespace gradus::support
