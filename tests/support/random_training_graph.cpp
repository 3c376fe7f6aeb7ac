#include <algorithm>
#include <optional>

#include "ir/compositions/activations.h"
#include "ir/compositions/indexing.h"
#include "ir/compositions/losses.h"
#include "ir/compositions/normalisation.h"
#include "ir/compositions/optimizers.h"
#include "ir/op.h"
#include "ir/scan.h"
#include "passes/differentiate.h"
#include "tests/support/random.h"
#include "tests/support/random_graph.h"

namespace gradus::support {
namespace {

using ir::Expr;
using ir::Integers;

/// Elementwise ops of the registry on floats, with a gradient, of `operands` operands.
std::vector<const ir::OpRecord*> differentiable_ops(int operands) {
  std::vector<const ir::OpRecord*> found;
  for (const ir::OpRecord& op : ir::op_records()) {
    const TensorType f32{ElementType::f32, {}};
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

class Builder {
 public:
  explicit Builder(std::uint64_t seed) : random_(seed), graph_("train_step") {}

  ir::Graph build() {
    element_ = random_.chance(0.9) ? ElementType::f32 : ElementType::f64;
    const bool large = random_.chance(0.04);  // many parts and blocks
    batch_ = large ? random_.between(1030, 1300) : extent(80);
    Expr x = input("x", ir::InputKind::batch, {element_, {batch_, extent(large ? 9 : 40)}});
    const std::int64_t layers = random_.between(1, large ? 2 : 5);
    for (std::int64_t i = 0; i < layers; ++i) {
      enter("layer" + std::to_string(i), ir::Role::forward);
      x = layer(x);
      if (random_.chance(0.1)) graph_.add_result("tap" + std::to_string(i), x.value);
    }
    if (parameters_.empty()) x = dense(x);
    enter("loss", ir::Role::forward);
    const Expr total = regularized(loss(x));
    graph_.add_result("loss", total.value);
    enter("optimizer", ir::Role::update);
    update(total);
    graph_.set_provenance({});
    return std::move(graph_);
  }

 private:
  // --- Pieces -----------------------------------------------------------------------------------

  /// 1 to `greatest`, often odd.
  std::int64_t extent(std::int64_t greatest) {
    constexpr std::int64_t round[] = {1, 2, 8, 16, 32, 64};
    const std::int64_t value =
        random_.chance(0.3) ? random_.pick(round) : random_.between(1, greatest);
    return std::min(value, greatest);
  }
  void enter(const std::string& name, ir::Role role) {
    ir::Origin origin{{"random.json", ++line_, 5}, name};
    graph_.set_provenance({std::make_shared<const ir::Origin>(std::move(origin)), role});
  }
  Expr input(const std::string& name, ir::InputKind kind, const TensorType& type) {
    return {&graph_, graph_.add_input(name, kind, type)};
  }
  Expr counter(const std::string& name) {
    return input(name, ir::InputKind::state, {ElementType::i64, {}});
  }
  Expr parameter(const Shape& shape) {
    parameters_.push_back(
        input("w" + std::to_string(parameters_.size()), ir::InputKind::state, {element_, shape}));
    return parameters_.back();
  }
  /// p[column] for every row of x.
  Expr along_columns(Expr p, Expr x) { return ir::broadcast_reduced(p, x.shape(), {0}); }
  Expr column_parameter(Expr x) { return along_columns(parameter({x.shape()[1]}), x); }
  /// x brought smoothly into [low, high].
  Expr squeezed(Expr x, double low, double high) {
    return ir::map("sigmoid", x) * (high - low) + low;
  }
  Expr activated(Expr x) { return random_.pick(ir::activations()).build(x); }

  // --- Layers: [batch, features] to [batch, other features]
  // ---------------------------------------

  Expr layer(Expr x) {
    using Layer = Expr (Builder::*)(Expr);
    constexpr Layer layers[] = {
        &Builder::dense,     &Builder::dense,    &Builder::dense,    &Builder::unary,
        &Builder::binary,    &Builder::ternary,  &Builder::rows,     &Builder::columns,
        &Builder::attention, &Builder::residual, &Builder::dropout,  &Builder::move,
        &Builder::extrema,   &Builder::folded,   &Builder::by_index, &Builder::precise,
        &Builder::image,     &Builder::image,    &Builder::table,    &Builder::sorted,
        &Builder::running,   &Builder::loop};
    return (this->*random_.pick(layers))(x);
  }
  Expr dense(Expr x) {
    const std::int64_t features = extent(batch_ > 1000 ? 70 : 50);
    Expr y = random_.chance(0.8)
                 ? ir::matmul(x, parameter({x.shape()[1], features}))
                 : ir::dot(x, parameter({features, x.shape()[1]}), {{}, {}, {1}, {1}});
    if (random_.chance(0.7)) y = y + column_parameter(y);
    return activated(y);
  }
  Expr registry_op(const std::vector<Expr>& x) {
    static const std::vector<const ir::OpRecord*> ops[] = {
        differentiable_ops(1), differentiable_ops(2), differentiable_ops(3)};
    const ir::OpRecord& op = *random_.pick(ops[x.size() - 1]);
    std::vector<Expr> operands;
    for (Expr operand : x) {
      operands.push_back(squeezed(operand, op.examples[0].low, op.examples[0].high));
    }
    return ir::apply(op.name, operands);
  }
  Expr unary(Expr x) { return registry_op({x}); }
  Expr binary(Expr x) { return registry_op({x, column_parameter(x)}); }
  Expr ternary(Expr x) { return registry_op({x, column_parameter(x), column_parameter(x)}); }
  /// Normalises rows, with a scale and a shift per column.
  Expr rows(Expr x) {
    const Expr y = ir::normalize_rows(x, 1e-3);
    return random_.chance(0.5) ? y : y * column_parameter(y) + column_parameter(y);
  }
  /// Normalises columns over the batch.
  Expr columns(Expr x) {
    const auto spread = [&](Expr column) { return along_columns(column, x); };
    const Expr d = x - spread(ir::mean(x, {0}));
    const Expr variance = ir::mean(d * d, {0});
    return d * spread(ir::map("rsqrt", variance + 1e-3)) * column_parameter(x);
  }
  /// softmax(x xᵀ / sqrt(features)) x.
  Expr attention(Expr x) {
    if (batch_ > 100) return rows(x);
    const Expr scores = ir::dot(x, x, {{}, {}, {1}, {1}});
    return ir::matmul(ir::softmax(scores * 0.3), x);
  }
  Expr residual(Expr x) {
    return x + activated(ir::matmul(x, parameter({x.shape()[1], x.shape()[1]})));
  }
  Expr dropout(Expr x) {
    const Expr keep = ir::apply(
        "random_bernoulli", {counter("seed"), counter("step")},
        {{"shape", x.shape()}, {"stream", random_.between(0, 99)}, {"probability", 0.75}});
    return ir::select(keep, x / 0.75, ir::full_like(x, 0));
  }
  Expr move(Expr x) {
    const std::int64_t features = x.shape()[1];
    const std::int64_t start = random_.between(0, features - 1);
    const Expr part = ir::slice(x, {0, start}, {batch_, features}, {1, random_.between(1, 2)});
    const Expr padded = ir::pad(part, ir::constant(graph_, element_, 0.5), {0, 1},
                                {0, random_.between(0, 3)}, {0, random_.between(0, 1)});
    const Expr pieces[] = {padded, ir::reverse(x, {1})};
    return random_.chance(0.5) ? padded : ir::concat(pieces, 1);
  }
  /// Reductions of rows that are no sums.
  Expr extrema(Expr x) {
    const auto spread = [&](Expr row) { return ir::broadcast_reduced(row, x.shape(), {1}); };
    const Expr y = x - spread(ir::reduce("reduce_max", x, {1}));
    return random_.chance(0.5) ? y : y * spread(ir::reduce("reduce_min", x, {1}));
  }
  /// Splits the features in two axes, contracts per example or with a parameter, and flattens.
  Expr folded(Expr x) {
    const std::int64_t features = x.shape()[1];
    std::int64_t inner = random_.between(1, std::min<std::int64_t>(features, 8));
    while (features % inner != 0) --inner;
    const Expr cube = ir::reshape(x, {batch_, features / inner, inner});
    Expr y;
    if (random_.chance(0.5) && features / inner <= 16) {
      y = ir::dot(cube, cube, {{0}, {0}, {2}, {2}});
    } else {
      y = ir::dot(cube, parameter({extent(9), inner}), {{}, {}, {2}, {1}});
      if (random_.chance(0.5)) y = ir::transpose(y, {0, 2, 1});
    }
    return ir::map("tanh", ir::reshape(y, {batch_, y.shape()[1] * y.shape()[2]}));
  }
  /// Depends on positions: every third column is damped.
  Expr by_index(Expr x) {
    const Expr index{
        &graph_,
        {graph_.add(
             ir::op("iota"), {},
             {{"element", ElementType::i32}, {"shape", x.shape()}, {"axis", std::int64_t{1}}}),
         0}};
    const Expr third =
        ir::map("equal", ir::map("rem", index, ir::full_like(index, 3)), ir::full_like(index, 0));
    return ir::select(third, x * 0.25, x);
  }
  /// Rows of a table, often the same ones.
  Expr table(Expr x) {
    const std::int64_t rows = extent(12);
    const TensorType type{ElementType::i32, {batch_}};
    const Expr index = ir::map("rem", ir::iota(graph_, type.element, type.shape, 0),
                               ir::full(graph_, type, static_cast<double>(rows)));
    return x + ir::gather(parameter({rows, x.shape()[1]}), index, 0);
  }
  /// The greatest features in order.
  Expr sorted(Expr x) {
    if (x.type().element_count() * x.shape()[1] > 40000) return rows(x);
    return ir::top_k(x, 1, random_.between(1, x.shape()[1])).values;
  }
  Expr running(Expr x) {
    const std::int64_t axis = random_.between(0, 1);
    const double scale = 1.0 / static_cast<double>(x.shape()[static_cast<std::size_t>(axis)]);
    return ir::cumulative_sum(x, axis, random_.chance(0.3), random_.chance(0.3)) * scale;
  }
  Expr precise(Expr x) {
    return ir::cast(ir::map("tanh", ir::cast(x, ElementType::f64)), element_);
  }

  /// The features as small images: convolutions, normalisation, pooling.
  Expr image(Expr x) {
    if (batch_ > 100) return rows(x);
    const std::int64_t side = random_.between(2, 7);
    const std::int64_t channels = random_.between(1, 3);
    const std::int64_t wanted = side * side * channels;
    if (x.shape()[1] != wanted) x = ir::matmul(x, parameter({x.shape()[1], wanted}));
    Expr y = ir::reshape(x, {batch_, side, side, channels});
    for (std::int64_t i = random_.between(1, 3); i > 0; --i) {
      y = random_.chance(0.6) ? convolved(y) : random_.chance(0.5) ? channel_norm(y) : pooled(y);
    }
    return ir::reshape(y, {batch_, y.type().element_count() / batch_});
  }
  Expr convolved(Expr x) {
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
      axes.spatial.push_back({i + 1, i, transposed ? 1 : stride, kernel.back() - 1,
                              random_.between(0, 1), plain ? 1 : random_.between(1, 2),
                              transposed ? stride : 1});
      axes.spatial.back().low *= axes.spatial.back().window_dilation;
    }
    if (depthwise) {
      kernel.insert(kernel.end(), {channels, 1, random_.between(1, 2)});
      x = ir::reshape(x, {batch_, x.shape()[1], x.shape()[2], channels, 1});
    } else {
      kernel.insert(kernel.end(), {channels, filters});
    }
    if (admits(ir::ConvolutionAlgorithm::winograd_2x2, axes, x.shape(), kernel)) {
      axes.algorithm = random_.chance(0.5) ? ir::ConvolutionAlgorithm::winograd_2x2
                                           : ir::ConvolutionAlgorithm::winograd_4x4;
    }
    Expr y = ir::conv(x, parameter(kernel), axes);
    if (depthwise) {
      const Shape& s = y.shape();
      y = ir::reshape(y, {s[0], s[1], s[2], s[3] * s[4]});
    }
    return activated(y);
  }
  Expr channel_norm(Expr x) {
    const Shape width{x.shape()[3]};
    const Expr d = x - ir::along_channels(parameter(width), x);
    const ir::Moments moments = ir::channel_moments(d);
    ir::ChannelAffine affine{moments.mean, moments.variance};
    if (random_.chance(0.5)) affine.gamma = parameter(width);
    if (random_.chance(0.5)) affine.beta = parameter(width);
    return ir::normalize_channels(d, affine, 1e-3);
  }
  Expr pooled(Expr x) {
    const std::int64_t size = std::min<std::int64_t>(2, std::min(x.shape()[1], x.shape()[2]));
    if (x.shape()[1] % size == 0 && x.shape()[2] % size == 0 && random_.chance(0.5)) {
      const Expr tiles = ir::reshape(
          x, {batch_, x.shape()[1] / size, size, x.shape()[2] / size, size, x.shape()[3]});
      return ir::reduce("reduce_max", tiles, {2, 4});
    }
    const std::int64_t stride = random_.between(1, 2);
    const Expr windows = ir::windows(x, {1, 2}, {size, size}, {stride, stride}, {1, 1});
    return random_.chance(0.5) ? ir::reduce("reduce_max", windows, {3, 4})
                               : ir::mean(windows, {3, 4});
  }

  /// A few iterations over damped copies of x: one or two carried values, contractions in the loop
  /// and before it, noise, normalised rows.
  Expr loop(Expr x) {
    if (batch_ > 100) return rows(x);
    const std::int64_t length = random_.between(1, 5);
    const std::int64_t units = extent(24);
    const Shape stack{length, batch_, x.shape()[1]};
    const Expr damped =
        ir::broadcast(x, stack, {1, 2}) * ir::broadcast(parameter({length}), stack, {0});
    const Expr start = ir::broadcast(parameter({units}), {batch_, units}, {1});
    ir::ScanOperands operands{{start}, {damped}, {parameter({x.shape()[1], units})}};
    operands.invariant.push_back(parameter({units, units}));
    operands.invariant.push_back(parameter({units}));
    const bool two = random_.chance(0.4), noise = random_.chance(0.3), norm = random_.chance(0.3);
    const bool inside = random_.chance(0.8);
    if (two) operands.carried.push_back(start * 0.5);
    if (noise)
      operands.invariant.insert(operands.invariant.end(), {counter("seed"), counter("step")});
    const ir::Activation& activation = random_.pick(ir::activations());
    const std::int64_t stream = random_.between(0, 99);
    const std::vector<Expr> results =
        ir::scan(graph_, operands, length, random_.chance(0.4), [&](const ir::ScanIteration& i) {
          Expr z = ir::matmul(i.slices[0], i.invariant[0]);
          z = inside ? z + ir::matmul(i.carried[0], i.invariant[1]) : z * i.carried[0];
          z = z + ir::broadcast_reduced(i.invariant[2], z.shape(), {0});
          if (norm) z = ir::normalize_rows(z, 1e-3);
          Expr h = activation.build(z);
          if (noise) {
            const Expr keep =
                ir::apply("random_bernoulli", {i.invariant[3], i.invariant[4], i.position},
                          {{"shape", h.shape()}, {"stream", stream}, {"probability", 0.75}});
            h = ir::select(keep, h, i.carried[0]);
          }
          if (!two) return ir::ScanResults{{h}, {h}};
          const Expr c = i.carried[1] * 0.75 + h * h;
          return ir::ScanResults{{ir::map("tanh", c), c}, {c, i.carried[0]}};
        });
    switch (random_.between(0, 2)) {
      case 0:
        return results[0];
      case 1:
        return ir::sum(results.back(), {0});
      default:
        return results[0] + ir::mean(results[two ? 2 : 1], {0});
    }
  }

  // --- Loss and update
  // ----------------------------------------------------------------------------

  Expr loss(Expr x) {
    const ir::Loss& chosen = random_.pick(ir::losses());
    ir::Prediction kind = ir::Prediction::value;
    if (chosen.classifies) {
      const bool logits = random_.chance(0.6);
      kind = logits ? ir::Prediction::logit : ir::Prediction::probability;
      if (!logits) x = ir::softmax(x);
    }
    const auto with_target = [&](const TensorType& type) -> std::optional<Expr> {
      try {
        const Expr target = input("target" + to_string(type), ir::InputKind::batch, type);
        return chosen.build({x, kind, target});
      } catch (const ir::TypeError&) {
        return std::nullopt;
      }
    };
    if (const std::optional<Expr> built = with_target(x.type())) return *built;
    return with_target({ElementType::i32, {batch_}}).value();
  }
  Expr regularized(Expr loss) {
    if (random_.chance(0.3)) {
      const Expr w = random_.pick(parameters_);
      loss = loss + ir::sum_all(w * w) * 0.01;
    }
    if (random_.chance(0.08) && batch_ < 40) {  // a penalty on the gradient: second order
      const Expr wanted[] = {random_.pick(parameters_)};
      const Expr gradient = passes::gradients(loss, wanted)[0];
      loss = loss + ir::sum_all(gradient * gradient) * 0.1;
    }
    return loss;
  }
  void update(Expr total) {
    std::vector<Expr> gradients = passes::gradients(total, parameters_);
    if (random_.chance(0.3)) clip(gradients);
    const ir::Optimizer& optimizer = random_.pick(ir::optimizers());
    std::vector<double> hyper;
    for (const ir::Hyperparameter& p : optimizer.hyperparameters) hyper.push_back(p.default_value);
    const Expr step = counter("step");
    Expr rate = ir::constant(graph_, ElementType::f64, optimizer.learning_rate);
    const ir::Schedule& schedule = random_.pick(ir::schedules());
    std::vector<double> settings;
    for (const ir::Hyperparameter& p : schedule.parameters) settings.push_back(p.default_value);
    rate = schedule.build(rate, step, settings);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const std::string name = "w" + std::to_string(i);
      std::vector<std::string> names;
      std::vector<Expr> slots;
      for (const ir::Slot& slot : optimizer.slots) {
        names.push_back(name + "/" + std::string(slot.name));
        slots.push_back(input(names.back(), ir::InputKind::state, parameters_[i].type()));
      }
      const ir::Update next =
          optimizer.build({parameters_[i], gradients[i], slots, rate, step, hyper});
      graph_.add_update(name, next.parameter.value);
      for (std::size_t s = 0; s < slots.size(); ++s) {
        graph_.add_update(names[s], next.slots[s].value);
      }
    }
    graph_.add_update("step", (step + 1).value);
  }
  /// To a global norm of at most 1.
  void clip(std::vector<Expr>& gradients) {
    Expr squares = ir::sum_all(gradients[0] * gradients[0]);
    for (std::size_t i = 1; i < gradients.size(); ++i) {
      squares = squares + ir::sum_all(gradients[i] * gradients[i]);
    }
    const Expr norm = ir::map("sqrt", squares);
    for (Expr& gradient : gradients) {
      gradient = gradient * (1.0 / ir::map("max", norm, ir::full_like(norm, 1)));
    }
  }

  Random random_;
  ir::Graph graph_;
  ElementType element_ = ElementType::f32;
  std::int64_t batch_ = 1;
  std::uint32_t line_ = 0;
  std::vector<Expr> parameters_;
};

}  // namespace

ir::Graph random_training_graph(std::uint64_t seed) { return Builder(seed).build(); }

}  // namespace gradus::support
