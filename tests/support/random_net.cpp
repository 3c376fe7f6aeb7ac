#include "tests/support/random_net.h"

#include <algorithm>

#include "ir/compositions/activations.h"
#include "ir/compositions/indexing.h"
#include "ir/op.h"

namespace gradus::support {
namespace {

using ir::Expr;

/// Elementwise ops of the registry on floats, with a gradient, of `operands` operands.
std::vector<const ir::OpRecord*> differentiable_ops(int operands) {
  std::vector<const ir::OpRecord*> found;
  for (const ir::OpRecord& op : ir::op_records()) {
    if (!std::holds_alternative<ir::ElementwiseComputation>(op.compute) || !op.vjp) continue;
    if (op.least_operands != operands || !op.attributes.empty()) continue;
    if (std::ranges::none_of(op.examples, [&](const ir::OpExample& example) {
          return std::ranges::all_of(example.operands, [&](std::string_view type) {
            return parse_tensor_type(type)->element == ElementType::f32;
          });
        })) {
      continue;
    }
    found.push_back(&op);
  }
  return found;
}

/// p[column] for every row of x.
Expr along_columns(Expr p, Expr x) { return ir::broadcast_reduced(p, x.shape(), {0}); }

/// x brought smoothly into [low, high].
Expr squeezed(Expr x, double low, double high) {
  return ir::map("sigmoid", x) * (high - low) + low;
}

}  // namespace

// --- The step -----------------------------------------------------------------------------------

void RandomStep::start(std::int64_t number, std::int64_t first_example, std::int64_t count) {
  run = number;
  first = first_example;
  examples = count;
  for (auto& [name, value] : state) {
    if (value.value != *graph.find_input(name)) value = ir::stop_gradient(value);
  }
}

void RandomStep::enter(const std::string& layer, ir::Role role) {
  ir::Origin origin{{"random.json", ++lines, 5}, layer};
  graph.set_provenance({std::make_shared<const ir::Origin>(std::move(origin)), role});
}

Expr RandomStep::input(const std::string& name, TensorType example) {
  example.shape.insert(example.shape.begin(), batch);
  const Expr all{&graph, graph.add_input(name, ir::InputKind::batch, example)};
  if (examples == batch) return all;
  ir::Integers start(example.shape.size(), 0);
  Shape limit = example.shape;
  start[0] = first;
  limit[0] = first + examples;
  return ir::slice(all, start, limit, ir::Integers(start.size(), 1));
}

Expr RandomStep::state_value(const std::string& name, const TensorType& type) {
  const auto known = state.find(name);
  if (known != state.end()) return known->second;
  const Expr value{&graph, graph.add_input(name, ir::InputKind::state, type)};
  return state.emplace(name, value).first->second;
}

Expr RandomStep::counter(const std::string& name, Count of) {
  Expr value{&graph, graph.add_input(name, ir::InputKind::state, {ElementType::i64, {}})};
  if (of.count > 1) value = value * static_cast<double>(of.count);
  return of.index > 0 ? value + static_cast<double>(of.index) : value;
}
Expr RandomStep::counter(const std::string& name) {
  return counter(name, name == "step" ? Count{run, runs} : Count{});
}

Expr RandomStep::draw(std::string_view op, const Shape& shape, std::int64_t stream) {
  return ir::apply(op, {counter("seed"), counter("step")},
                   {{"element", element}, {"shape", shape}, {"stream", stream}});
}

Expr RandomStep::bernoulli(const Shape& shape, std::int64_t stream) {
  return ir::apply("random_bernoulli", {counter("seed"), counter("step")},
                   {{"shape", shape}, {"stream", stream}, {"probability", 0.75}});
}

// --- Nets ---------------------------------------------------------------------------------------

Expr Net::operator()(Expr x) {
  random_ = Random(seed_);
  next_parameter_ = 0;
  next_name_ = 0;
  for (std::int64_t i = 0; i < options_.layers; ++i) {
    step_.enter(name_ + "layer" + std::to_string(i), ir::Role::forward);
    x = layer(x);
  }
  if (options_.width > 0) return projected(x, options_.width);
  return next_parameter_ == 0 ? dense(x) : x;
}

Expr Net::layer(Expr x) {
  using Layer = Expr (Net::*)(Expr);
  constexpr Layer layers[] = {
      &Net::dense,     &Net::dense,   &Net::dense,     &Net::unary,     &Net::binary,
      &Net::ternary,   &Net::rows,    &Net::columns,   &Net::residual,  &Net::dropout,
      &Net::move,      &Net::extrema, &Net::folded,    &Net::by_index,  &Net::precise,
      &Net::image,     &Net::image,   &Net::table,     &Net::sorted,    &Net::segments,
      &Net::chosen,    &Net::running, &Net::loop,      &Net::loop,      &Net::recurrent,
      &Net::recurrent, &Net::loop,    &Net::attention, &Net::attention, &Net::attention};
  return (this->*random_.pick(layers))(x);
}

/// 1 to `greatest`, often odd.
std::int64_t Net::extent(std::int64_t greatest) {
  constexpr std::int64_t round[] = {1, 2, 8, 16, 32, 64};
  const std::int64_t value =
      random_.chance(0.3) ? random_.pick(round) : random_.between(1, greatest);
  return std::min(value, greatest);
}

Expr Net::parameter(const Shape& shape) {
  if (next_parameter_ == parameters_.size()) {
    parameters_.push_back(name_ + "w" + std::to_string(next_parameter_));
  }
  return step_.state_value(parameters_[next_parameter_++], {step_.element, shape});
}
Expr Net::column_parameter(Expr x) { return along_columns(parameter({x.shape()[1]}), x); }
Expr Net::activated(Expr x) { return random_.pick(ir::activations()).build(x); }
Expr Net::projected(Expr x, std::int64_t features) {
  return ir::matmul(x, parameter({x.shape()[1], features}));
}

Expr Net::dense(Expr x) {
  const std::int64_t features = extent(options_.many ? 70 : 50);
  Expr y = random_.chance(0.8)
               ? projected(x, features)
               : ir::dot(x, parameter({features, x.shape()[1]}), {{}, {}, {1}, {1}});
  if (random_.chance(0.7)) y = y + column_parameter(y);
  return activated(y);
}
Expr Net::registry_op(const std::vector<Expr>& x) {
  static const std::vector<const ir::OpRecord*> ops[] = {
      differentiable_ops(1), differentiable_ops(2), differentiable_ops(3)};
  const ir::OpRecord& op = *random_.pick(ops[x.size() - 1]);
  std::vector<Expr> operands;
  for (Expr operand : x) {
    operands.push_back(squeezed(operand, op.examples[0].low, op.examples[0].high));
  }
  return ir::apply(op.name, operands);
}
Expr Net::unary(Expr x) { return registry_op({x}); }
Expr Net::binary(Expr x) { return registry_op({x, column_parameter(x)}); }
Expr Net::ternary(Expr x) {
  const Expr second = column_parameter(x);
  return registry_op({x, second, column_parameter(x)});
}

/// Normalises rows, with a scale and a shift per column.
Expr Net::rows(Expr x) {
  const Expr y = ir::normalize_rows(x, 1e-3);
  if (random_.chance(0.5)) return y;
  const Expr scale = column_parameter(y);
  return y * scale + column_parameter(y);
}
/// Normalises columns over the examples, sometimes around a mean that lasts.
Expr Net::columns(Expr x) {
  if (random_.chance(0.4)) {
    const std::string name = name_ + "mean" + std::to_string(next_name_++);
    const Expr before = step_.state_value(name, {x.element(), {x.shape()[1]}});
    step_.state.at(name) = before * 0.75 + ir::stop_gradient(ir::mean(x, {0})) * 0.25;
    x = x - along_columns(before, x);
  }
  const Expr d = x - along_columns(ir::mean(x, {0}), x);
  const Expr variance = ir::mean(d * d, {0});
  return d * along_columns(ir::map("rsqrt", variance + 1e-3), x) * column_parameter(x);
}
Expr Net::residual(Expr x) { return x + activated(projected(x, x.shape()[1])); }
Expr Net::dropout(Expr x) {
  const Expr keep = step_.bernoulli(x.shape(), stream());
  return ir::select(keep, x / 0.75, ir::full_like(x, 0));
}
Expr Net::move(Expr x) {
  const std::int64_t examples = x.shape()[0], features = x.shape()[1];
  const std::int64_t start = random_.between(0, features - 1);
  const std::int64_t stride = random_.between(1, 2);
  const Expr part = ir::slice(x, {0, start}, {examples, features}, {1, stride});
  const std::int64_t high = random_.between(0, 3), interior = random_.between(0, 1);
  const Expr padded =
      ir::pad(part, ir::constant(step_.graph, x.element(), 0.5), {0, 1}, {0, high}, {0, interior});
  const Expr pieces[] = {padded, ir::reverse(x, {1})};
  return random_.chance(0.5) ? padded : ir::concat(pieces, 1);
}
/// Reductions of rows that are no sums.
Expr Net::extrema(Expr x) {
  const auto spread = [&](Expr row) { return ir::broadcast_reduced(row, x.shape(), {1}); };
  const Expr y = x - spread(ir::reduce("reduce_max", x, {1}));
  return random_.chance(0.5) ? y : y * spread(ir::reduce("reduce_min", x, {1}));
}
/// Splits the features in two axes, contracts per example or with a parameter, and flattens.
Expr Net::folded(Expr x) {
  const std::int64_t examples = x.shape()[0], features = x.shape()[1];
  std::int64_t inner = random_.between(1, std::min<std::int64_t>(features, 8));
  while (features % inner != 0) --inner;
  const Expr cube = ir::reshape(x, {examples, features / inner, inner});
  Expr y;
  if (random_.chance(0.5) && features / inner <= 16) {
    y = ir::dot(cube, cube, {{0}, {0}, {2}, {2}});
  } else {
    y = ir::dot(cube, parameter({extent(9), inner}), {{}, {}, {2}, {1}});
    if (random_.chance(0.5)) y = ir::transpose(y, {0, 2, 1});
  }
  return ir::map("tanh", ir::reshape(y, {examples, y.shape()[1] * y.shape()[2]}));
}
/// Depends on positions: every third column is damped.
Expr Net::by_index(Expr x) {
  const Expr index = ir::iota(step_.graph, ElementType::i32, x.shape(), 1);
  const Expr third =
      ir::map("equal", ir::map("rem", index, ir::full_like(index, 3)), ir::full_like(index, 0));
  return ir::select(third, x * 0.25, x);
}
Expr Net::precise(Expr x) {
  return ir::cast(ir::map("tanh", ir::cast(x, ElementType::f64)), step_.element);
}
Expr Net::running(Expr x) {
  const std::int64_t axis = random_.between(0, 1);
  const bool exclusive = random_.chance(0.3), reverse = random_.chance(0.3);
  const double scale = 1.0 / static_cast<double>(x.shape()[static_cast<std::size_t>(axis)]);
  return ir::cumulative_sum(x, axis, exclusive, reverse) * scale;
}

// --- Positions that are values ------------------------------------------------------------------

/// Rows of a table, often the same ones.
Expr Net::table(Expr x) {
  const std::int64_t rows = extent(12);
  const TensorType type{ElementType::i32, {x.shape()[0]}};
  const Expr index = ir::map("rem", ir::iota(step_.graph, type.element, type.shape, 0),
                             ir::full(step_.graph, type, static_cast<double>(rows)));
  return x + ir::gather(parameter({rows, x.shape()[1]}), index, 0);
}
/// The greatest features in order.
Expr Net::sorted(Expr x) {
  if (options_.many || x.shape()[1] > 40) return rows(x);
  return ir::top_k(x, 1, random_.between(1, x.shape()[1])).values;
}
/// Sums of the examples of each class, given back to them.
Expr Net::segments(Expr x) {
  const std::int64_t classes = extent(9);
  const Expr index = ir::reshape(token_indices(1, classes), {x.shape()[0]});
  const Expr sums = ir::scatter_add(x, index, 0, 0, classes);
  return x - ir::gather(sums, index, 0) * (1.0 / static_cast<double>(x.shape()[0]));
}
/// Features of every example at positions of its own.
Expr Net::chosen(Expr x) {
  const Expr index = token_indices(extent(12), x.shape()[1]);
  const Expr y = ir::gather(x, index, 1, 1);
  return y + column_parameter(y);
}
/// i32 [examples, positions] in [0, vocabulary), most of them several times.
Expr Net::token_indices(std::int64_t positions, std::int64_t vocabulary) {
  if (random_.chance(0.5)) {
    const Expr token = step_.input(name_ + "tokens" + std::to_string(next_name_++),
                                   {ElementType::i32, {positions}});
    return ir::map("min", ir::map("abs", token),
                   ir::full_like(token, static_cast<double>(vocabulary - 1)));
  }
  const Shape shape{step_.examples, positions};
  const Expr row = ir::iota(step_.graph, ElementType::i32, shape, 0) * 3.0;
  const Expr token = row + ir::iota(step_.graph, ElementType::i32, shape, 1) * 5.0;
  return ir::map("rem", token, ir::full_like(token, static_cast<double>(vocabulary)));
}

}  // namespace gradus::support
