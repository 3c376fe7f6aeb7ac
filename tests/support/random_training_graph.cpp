#include <algorithm>
#include <optional>

#include "ir/compositions/activations.h"
#include "ir/compositions/losses.h"
#include "ir/compositions/optimizers.h"
#include "passes/differentiate.h"
#include "tests/support/random_graph.h"
#include "tests/support/random_net.h"

namespace gradus::support {
namespace {

using ir::Expr;

std::vector<double> defaults(std::span<const ir::Hyperparameter> parameters) {
  std::vector<double> values;
  for (const ir::Hyperparameter& p : parameters) values.push_back(p.default_value);
  return values;
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

/// A loss down which an update takes the parameters of some nets. Seeds stand for what both are, so
/// that every run has the same.
struct RandomUpdate {
  std::uint64_t loss = 0;
  std::uint64_t optimizer = 0;
  std::vector<std::size_t> path;     // the nets that the loss evaluates, one after another
  std::vector<std::size_t> trained;  // among them
  std::int64_t repeat = 1;
};

class StepBuilder {
 public:
  explicit StepBuilder(std::uint64_t seed) : random_(seed) {}

  ir::Graph build() {
    step_.element = random_.chance(0.9) ? ElementType::f32 : ElementType::f64;
    random_.chance(0.4) ? plan_several() : plan_one();
    std::int64_t before = 0;
    for (std::size_t u = 0; u < updates_.size(); ++u) {
      for (std::int64_t i = 0; i < updates_[u].repeat; ++i) {
        const std::int64_t first = i * part_;
        if (first >= step_.batch) break;
        step_.start(before + i, first, std::min(part_, step_.batch - first));
        run(u, i);
      }
      before += updates_[u].repeat;
    }
    for (const auto& [name, value] : step_.state) {
      const ir::Value was = *step_.graph.find_input(name);
      if (value.value != was) step_.graph.add_update(name, value.value);
      if (random_.chance(0.05)) step_.graph.add_result("before " + name, was);
    }
    step_.graph.add_update("step", (step_.counter("step", {1, 1})).value);
    step_.graph.set_provenance({});
    return std::move(step_.graph);
  }

 private:
  std::int64_t extent(std::int64_t greatest) {
    constexpr std::int64_t round[] = {1, 2, 8, 16, 32};
    const std::int64_t value =
        random_.chance(0.3) ? random_.pick(round) : random_.between(1, greatest);
    return std::min(value, greatest);
  }

  /// One net, one loss, one run.
  void plan_one() {
    const bool large = random_.chance(0.04), many = large || random_.chance(0.05);
    step_.batch = large  ? random_.between(1030, 1300)
                  : many ? random_.between(120, 260)
                         : extent(60);
    part_ = step_.batch;
    features_ = extent(many ? 9 : 40);
    const std::int64_t layers = random_.between(1, many ? 2 : 4);
    nets_.emplace_back(step_, "a", random_.seed(),
                       Net::Options{.layers = layers, .width = 0, .many = many});
    updates_.push_back({random_.seed(), random_.seed(), {0}, {0}, 1});
  }

  /// Nets of one width, so that each can read what another gives.
  void plan_several() {
    features_ = extent(12);
    for (std::int64_t n = random_.between(2, 3); n > 0; --n) {
      nets_.emplace_back(step_, std::string(1, static_cast<char>('a' + nets_.size())),
                         random_.seed(),
                         Net::Options{.layers = random_.between(1, 2), .width = features_});
    }
    std::int64_t parts = 1;
    for (std::int64_t u = random_.between(1, 3); u > 0; --u) {
      RandomUpdate update{random_.seed(), random_.seed(), {}, {}, 1};
      for (std::int64_t i = random_.between(1, 2); i > 0; --i) {
        update.path.push_back(static_cast<std::size_t>(
            random_.between(0, static_cast<std::int64_t>(nets_.size()) - 1)));
      }
      update.trained = {random_.pick(update.path)};
      if (random_.chance(0.3)) update.trained = update.path;
      std::ranges::sort(update.trained);
      update.trained.erase(std::unique(update.trained.begin(), update.trained.end()),
                           update.trained.end());
      if (random_.chance(0.4)) update.repeat = random_.between(2, 3);
      parts = std::max(parts, update.repeat);
      step_.runs += update.repeat;
      updates_.push_back(std::move(update));
    }
    --step_.runs;  // it began with one
    step_.batch = parts * extent(14) - random_.between(0, parts - 1);
    part_ = (step_.batch + parts - 1) / parts;
  }

  void run(std::size_t number, std::int64_t index) {
    const RandomUpdate& update = updates_[number];
    Random random(update.loss);
    const Expr x = step_.input("x", {step_.element, {features_}});
    const Expr y = through(update.path, x, random);
    step_.enter("loss" + std::to_string(number), ir::Role::forward);
    Expr loss = loss_of(y, random);
    if (random.chance(0.2)) loss = loss + slope_penalty(update.path.back(), x, y, random);
    std::vector<std::string> names;
    for (std::size_t net : update.trained) {
      const std::vector<std::string>& own = nets_[net].parameters();
      names.insert(names.end(), own.begin(), own.end());
    }
    loss = regularized(loss, names, random);
    if (index == 0) step_.graph.add_result("loss" + std::to_string(number), loss.value);
    step_.enter("optimizer" + std::to_string(number), ir::Role::update);
    take_down(loss, names, number, index);
  }

  /// x, or noise, through the nets; what one gives may be a constant for the next.
  Expr through(const std::vector<std::size_t>& path, Expr x, Random& random) {
    const bool noise = path.size() > 1 && random.chance(0.4);
    Expr y = noise ? step_.draw("random_normal", x.shape(), random.between(0, 99)) : x;
    for (std::size_t net : path) {
      if (y.value != x.value && random.chance(0.2)) y = ir::stop_gradient(y);
      y = nets_[net](y);
      if (random.chance(0.05)) {
        step_.graph.add_result(
            "tap" + std::to_string(step_.run) + "of" + std::to_string(next_tap_++), y.value);
      }
    }
    return y;
  }

  Expr loss_of(Expr y, Random& random) {
    const ir::Loss& chosen = random.pick(ir::losses());
    ir::Compared compared{y};
    if (chosen.classifies) {
      const bool logits = random.chance(0.6);
      compared.kind = logits ? ir::Prediction::logit : ir::Prediction::probability;
      if (!logits) compared.prediction = ir::softmax(y);
    }
    const bool weighted = random.chance(0.2);
    if (weighted) {
      const Expr weights = step_.input("weights", {step_.element, {}});
      compared.weights = ir::map("abs", ir::map("min", weights, ir::full_like(weights, 0)));
    }
    const auto with_target = [&](const TensorType& example) -> std::optional<Expr> {
      try {
        if (chosen.compares) compared.target = target(example, y.shape()[1]);
        return chosen.build(compared);
      } catch (const ir::TypeError&) {
        return std::nullopt;
      }
    };
    const Shape example(y.shape().begin() + 1, y.shape().end());
    if (const std::optional<Expr> built = with_target({y.element(), example})) return *built;
    return with_target({ElementType::i32, {}}).value();
  }

  /// Classes where it is of integers.
  Expr target(const TensorType& example, std::int64_t classes) {
    const Expr given = step_.input("target" + to_string(example), example);
    if (is_float(given.element())) return given;
    return ir::map("min", ir::map("abs", given),
                   ir::full_like(given, static_cast<double>(classes - 1)));
  }

  /// How far the slope of a net is from 1 between what is given and what is made, as Gulrajani et
  /// al. 2017 penalise it: gradients of second order.
  Expr slope_penalty(std::size_t net, Expr x, Expr y, Random& random) {
    if (step_.examples > 40 || x.shape() != y.shape()) return ir::mean(ir::sum(y * y, {1}), {0});
    const Expr share = ir::broadcast(
        step_.draw("random_uniform", {step_.examples}, random.between(0, 99)), x.shape(), {0});
    const Expr between = x * share + ir::stop_gradient(y) * (1.0 - share);
    const Expr score = ir::sum_all(nets_[net](between));
    const Expr slope = passes::gradients(score, {&between, 1})[0];
    const Expr norm = ir::map("sqrt", ir::sum(slope * slope, {1}) + 1e-3);
    return ir::mean((norm - 1.0) * (norm - 1.0), {0}) * 0.5;
  }

  Expr regularized(Expr loss, const std::vector<std::string>& names, Random& random) {
    if (random.chance(0.3)) {
      const Expr w = step_.state.at(random.pick(names));
      loss = loss + ir::sum_all(w * w) * 0.01;
    }
    if (random.chance(0.08) && step_.examples < 40) {  // a penalty on the gradient of a parameter
      const Expr wanted[] = {step_.state.at(random.pick(names))};
      const Expr gradient = passes::gradients(loss, wanted)[0];
      loss = loss + ir::sum_all(gradient * gradient) * 0.1;
    }
    return loss;
  }

  /// One step of the update's optimizer; a parameter that an update before has slots for gets more.
  void take_down(Expr loss, const std::vector<std::string>& names, std::size_t number,
                 std::int64_t index) {
    const RandomUpdate& update = updates_[number];
    Random random(update.optimizer);
    std::vector<Expr> parameters;
    for (const std::string& name : names) parameters.push_back(step_.state.at(name));
    std::vector<Expr> gradients = passes::gradients(loss, parameters);
    if (random.chance(0.3)) clip(gradients);
    const ir::Optimizer& optimizer = random.pick(ir::optimizers());
    const std::vector<double> hyper = defaults(optimizer.hyperparameters);
    const ir::Schedule& schedule = random.pick(ir::schedules());
    const Expr step = step_.counter("step", {index, update.repeat});
    const Expr rate =
        schedule.build(ir::constant(step_.graph, ElementType::f64, optimizer.learning_rate), step,
                       defaults(schedule.parameters));
    for (std::size_t i = 0; i < names.size(); ++i) {
      std::vector<std::string> slot_names;
      std::vector<Expr> slots;
      for (const ir::Slot& slot : optimizer.slots) {
        slot_names.push_back(names[i] + "/" + std::to_string(number) + "/" +
                             std::string(slot.name));
        slots.push_back(step_.state_value(slot_names.back(), parameters[i].type()));
      }
      const ir::Update next =
          optimizer.build({parameters[i], gradients[i], slots, rate, step, hyper});
      step_.state.at(names[i]) = next.parameter;
      for (std::size_t s = 0; s < slots.size(); ++s) step_.state.at(slot_names[s]) = next.slots[s];
    }
  }

  Random random_;
  RandomStep step_;
  std::int64_t part_ = 1;      // examples of a run
  std::int64_t features_ = 1;  // of the examples
  std::vector<Net> nets_;
  std::vector<RandomUpdate> updates_;
  int next_tap_ = 0;
};

}  // namespace

ir::Graph random_training_graph(std::uint64_t seed) { return StepBuilder(seed).build(); }

}  // namespace gradus::support
