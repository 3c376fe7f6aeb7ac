// Random training graphs: the interpreter, the kernel interpreter, fused kernels, unfused kernels
// and another instruction set give the same bits. GRADUS_FUZZ=5000 runs that many from the seed
// GRADUS_FUZZ_SEED on; a failure prints its seed, and GRADUS_FUZZ_SEED=39 alone runs that one.

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/philox.h"
#include "codegen/text_kernel.h"
#include "ir/compositions/activations.h"
#include "passes/differentiate.h"
#include "tests/models/executors.h"
#include "tests/models/random_tuner.h"

namespace gradus {
namespace {

using ir::Expr;

/// A training step drawn from a seed.
class RandomStep {
 public:
  explicit RandomStep(std::uint32_t seed) : graph_("random_step"), seed_(seed) {
    Expr x = input(ir::InputKind::batch, {1 + draw(70), 1 + draw(40)});
    const int layers = 1 + static_cast<int>(draw(6));
    for (int i = 0; i < layers; ++i) x = layer(x);
    Expr target = input(ir::InputKind::batch, x.shape());
    Expr loss;
    if (draw(2) == 0 || x.shape().back() == 1) {
      const Expr d = x - target;
      loss = ir::sum_all(d * d) / static_cast<double>(x.type().element_count());
    } else {
      loss = -ir::sum_all(target * ir::log_softmax(x)) / static_cast<double>(x.shape()[0]);
    }
    graph_.add_result("loss", loss.value);
    update(loss);
  }

  ir::Graph& graph() { return graph_; }
  const Inputs& inputs() const { return inputs_; }

 private:
  std::int64_t draw(std::int64_t limit) {
    return philox4x32({counter_++, seed_, 0, 0}, {3, 4})[0] % static_cast<std::uint32_t>(limit);
  }

  Expr input(ir::InputKind kind, Shape shape) {
    const std::string name =
        (kind == ir::InputKind::state ? "w" : "x") + std::to_string(inputs_.size());
    const TensorType type{ElementType::f32, std::move(shape)};
    inputs_[name] = random_tensor(type, counter_++, -1, 1);
    const Expr x{&graph_, graph_.add_input(name, kind, type)};
    if (kind == ir::InputKind::state) parameters_.push_back(x);
    return x;
  }

  Expr counter(const std::string& name) {
    inputs_[name] = Tensor::scalar(ElementType::i64, std::int64_t{12345});
    return {&graph_, graph_.add_input(name, ir::InputKind::state, {ElementType::i64, {}})};
  }

  Expr layer(Expr x) {
    const std::int64_t rows = x.shape()[0];
    const std::int64_t columns = x.shape()[1];
    switch (draw(11)) {
      case 0:
      case 1:
      case 2: {
        const std::int64_t units = 1 + draw(50);
        const Expr y = ir::matmul(x, input(ir::InputKind::state, {columns, units}));
        return y + ir::broadcast(input(ir::InputKind::state, {units}), y.shape(), {1});
      }
      case 3:
        return ir::activations()[static_cast<std::size_t>(
                                     draw(static_cast<std::int64_t>(ir::activations().size())))]
            .build(x);
      case 4:
        return ir::normalize_rows(x, 1e-3);
      case 5: {
        const Expr keep = ir::apply("random_bernoulli", {counter("seed"), counter("step")},
                                    {{"shape", x.shape()},
                                     {"stream", static_cast<std::int64_t>(draw(1000))},
                                     {"probability", 0.7}});
        return ir::select(keep, x / 0.7, ir::full_like(x, 0));
      }
      case 6: {
        const Expr both[] = {x, x * x};
        return columns < 40 ? ir::concat(both, 1) : x + ir::map("tanh", x);
      }
      case 7:
        return columns > 3 ? ir::slice(x, {0, 1}, {rows, columns - draw(2)}, {1, 1 + draw(2)}) : x;
      case 8:
        return ir::reshape(ir::transpose(x, {1, 0}), {rows, columns}) + x;
      case 9: {
        const Expr column = ir::reduce("reduce_max", x, {0});
        return x - ir::broadcast(column, x.shape(), {1});
      }
      default: {
        const Expr mean = ir::mean(x, {0});
        return x - ir::broadcast(mean, x.shape(), {1});
      }
    }
  }

  /// SGD, or momentum with a slot, sometimes with a clipped norm.
  void update(Expr loss) {
    std::vector<Expr> gradients = passes::gradients(loss, parameters_);
    if (draw(3) == 0 && !gradients.empty()) {
      Expr squares = ir::sum_all(gradients[0] * gradients[0]);
      for (std::size_t i = 1; i < gradients.size(); ++i) {
        squares = squares + ir::sum_all(gradients[i] * gradients[i]);
      }
      const Expr norm = ir::map("sqrt", squares + 1e-6);
      for (Expr& gradient : gradients) gradient = gradient / norm;
    }
    const std::vector<Expr> parameters = parameters_;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const std::string name =
          graph_.node(parameters[i].value.node).attributes.get<std::string>("name");
      if (draw(2) == 0) {
        graph_.add_update(name, (parameters[i] - gradients[i] * 0.1).value);
        continue;
      }
      const Expr slot = input(ir::InputKind::state, parameters[i].shape());
      const Expr velocity = slot * 0.9 - gradients[i] * 0.1;
      const std::string slot_name =
          graph_.node(slot.value.node).attributes.get<std::string>("name");
      graph_.add_update(slot_name, velocity.value);
      graph_.add_update(name, (parameters[i] + velocity).value);
    }
  }

  ir::Graph graph_;
  std::uint32_t seed_;
  std::uint32_t counter_ = 0;
  Inputs inputs_;
  std::vector<Expr> parameters_;
};

TEST(RandomTraining, EveryExecutorGivesTheInterpretersBits) {
  const char* wanted = std::getenv("GRADUS_FUZZ");
  const char* from = std::getenv("GRADUS_FUZZ_SEED");
  const std::uint32_t first = from ? static_cast<std::uint32_t>(std::atoi(from)) : 1;
  const std::uint32_t usual = from ? 1 : 60;
  const std::uint32_t count = wanted ? static_cast<std::uint32_t>(std::atoi(wanted)) : usual;
  for (std::uint32_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomStep step(seed);
    const ir::Interpretation expected = ir::interpret(step.graph(), step.inputs());
    codegen::CompileOptions options;
    expect_same(expected, interpret_kernels(step.graph(), step.inputs()), "kernel interpreter");
    expect_same(expected, run(step.graph(), step.inputs(), options, 2), "fused");
    RandomTuner tuner(seed);
    options.tuner = &tuner;
    expect_same(expected, run(step.graph(), step.inputs(), options, 2), "choices at random");
    expect_same(expected, interpret_kernels(step.graph(), step.inputs(), &tuner),
                "choices at random in the kernel interpreter");
    options.tuner = nullptr;
    options.fuse = false;
    expect_same(expected, run(step.graph(), step.inputs(), options, 1), "unfused");
    options.fuse = seed % 3 != 0;
    expect_same(expected, run(step.graph(), step.inputs(), options, 3, true), "least memory");
    options.fuse = true;
    options.set =
        seed % 2 == 0 ? codegen::InstructionSet::x86_64_v3 : codegen::InstructionSet::x86_64;
    if (codegen::host_supports(options.set)) {
      expect_same(expected, run(step.graph(), step.inputs(), options, 1), "other set");
    }
    if (testing::Test::HasFailure()) {
      options.set = codegen::InstructionSet::native;
      for (const codegen::ScheduledKernel& kernel :
           codegen::plan_program(step.graph(), options).kernels) {
        printf("%s\n", to_string(kernel.kernel).c_str());
      }
      return;
    }
  }
}

}  // namespace
}  // namespace gradus
