#include "toy_model.h"

#include <limits>

#include "base/philox.h"

namespace gradus::runtime::testing {
namespace {

struct Constants {
  std::int64_t batch;
  Mishap mishap;
  std::int64_t at_step;
};

template <typename T>
T& at(std::byte* const* buffers, std::size_t index) {
  return *reinterpret_cast<T*>(buffers[index]);
}

// Buffers of all kernels: constants, x (or seed), y, loss, mean square, then the state in order.
enum Buffer { constants, x, y, loss, square, weight, bias, weight_slot, bias_slot, seed, step };

void init(std::byte* const* buffers, std::byte*, std::int64_t, std::int64_t, FaultWord*) {
  const auto seed_value = at<std::int64_t>(buffers, x);
  const auto words = philox4x32({0, 0, 0, 0}, {static_cast<std::uint32_t>(seed_value), 1});
  at<float>(buffers, weight) = static_cast<float>(words[0] % 1000) / 1000.0f;
  at<float>(buffers, bias) = 0;
  at<float>(buffers, weight_slot) = 0;
  at<float>(buffers, bias_slot) = 0;
  at<std::int64_t>(buffers, seed) = seed_value;
  at<std::int64_t>(buffers, step) = 0;
}

/// Writes the mean of squared errors; returns the gradient to weight and bias.
std::pair<float, float> measure(std::byte* const* buffers) {
  const auto& known = at<Constants>(buffers, constants);
  float total = 0;
  std::pair<float, float> gradient{0, 0};
  for (std::int64_t i = 0; i < known.batch; ++i) {
    const float input = (&at<float>(buffers, x))[i];
    const float error =
        at<float>(buffers, weight) * input + at<float>(buffers, bias) - (&at<float>(buffers, y))[i];
    total += error * error;
    gradient.first += 2 * error * input / static_cast<float>(known.batch);
    gradient.second += 2 * error / static_cast<float>(known.batch);
  }
  at<float>(buffers, loss) = total / static_cast<float>(known.batch);
  at<float>(buffers, square) = at<float>(buffers, loss);
  return gradient;
}

void evaluate(std::byte* const* buffers, std::byte*, std::int64_t, std::int64_t, FaultWord*) {
  measure(buffers);
}

void train_step(std::byte* const* buffers, std::byte*, std::int64_t, std::int64_t,
                FaultWord* fault) {
  const auto& known = at<Constants>(buffers, constants);
  auto [weight_gradient, bias_gradient] = measure(buffers);
  auto& step_count = at<std::int64_t>(buffers, step);
  const auto words = philox4x32({static_cast<std::uint32_t>(step_count), 0, 0, 0},
                                {static_cast<std::uint32_t>(at<std::int64_t>(buffers, seed)), 0});
  weight_gradient += 0.001f * static_cast<float>(words[0] % 100);
  auto& weight_momentum = at<float>(buffers, weight_slot);
  auto& bias_momentum = at<float>(buffers, bias_slot);
  weight_momentum = 0.9f * weight_momentum + weight_gradient;
  bias_momentum = 0.9f * bias_momentum + bias_gradient;
  at<float>(buffers, weight) -= 0.01f * weight_momentum;
  at<float>(buffers, bias) -= 0.01f * bias_momentum;
  if (step_count == known.at_step && known.mishap == Mishap::nan_loss) {
    at<float>(buffers, loss) = std::numeric_limits<float>::quiet_NaN();
  }
  if (step_count == known.at_step && known.mishap == Mishap::infinite_weight) {
    at<float>(buffers, weight) = std::numeric_limits<float>::infinity();
  }
  if (step_count == known.at_step && known.mishap == Mishap::fault) {
    *fault = (FaultWord{1} << 56) | (FaultWord{7} << 32) | 5;
  }
  ++step_count;
}

void predict(std::byte* const* buffers, std::byte*, std::int64_t, std::int64_t, FaultWord*) {
  const auto& known = at<Constants>(buffers, constants);
  for (std::int64_t i = 0; i < known.batch; ++i) {
    (&at<float>(buffers, loss))[i] =
        at<float>(buffers, weight) * (&at<float>(buffers, x))[i] + at<float>(buffers, bias);
  }
}

constexpr KernelFunction kKernels[] = {init, train_step, evaluate, predict};

}  // namespace

ToyModel::ToyModel(Mishap mishap, std::int64_t at_step) : mishap_(mishap), at_step_(at_step) {
  StateLayout& layout = programs_.layout;
  layout.add("line/weight", {ElementType::f32, {1, 1}}, StateKind::parameter);
  layout.add("line/bias", {ElementType::f32, {1}}, StateKind::parameter);
  layout.add("line/weight/momentum", {ElementType::f32, {1, 1}}, StateKind::slot);
  layout.add("line/bias/momentum", {ElementType::f32, {1}}, StateKind::slot);
  layout.add("seed", {ElementType::i64, {}}, StateKind::counter);
  layout.add("step", {ElementType::i64, {}}, StateKind::counter);
  programs_.executable = [this](Program program, std::int64_t batch) -> const Executable& {
    std::unique_ptr<Executable>& executable = executables_[{program, batch}];
    if (executable == nullptr) executable = std::make_unique<Executable>(compile(program, batch));
    return *executable;
  };
}

Executable ToyModel::compile(Program program, std::int64_t batch) const {
  Executable executable;
  executable.name = "toy";
  const std::int64_t bytes = batch * 4;
  const std::int64_t stride = (bytes + 127) / 64 * 64;
  if (program == Program::init) {
    executable.inputs = {{"seed", {ElementType::i64, {}}}};
  } else {
    executable.inputs = {{"x", {ElementType::f32, {batch, 1}}}};
    if (program != Program::predict)
      executable.inputs.push_back({"y", {ElementType::f32, {batch}}});
  }
  executable.arena_bytes = 2 * stride;
  const Constants known{batch, mishap_, at_step_};
  executable.constants.resize(sizeof(known));
  std::memcpy(executable.constants.data(), &known, sizeof(known));
  const auto last_input = static_cast<std::int64_t>(executable.inputs.size()) - 1;
  Step step{.name = "toy kernel",
            .provenance = "model.json:7:3",
            .function = kKernels[static_cast<std::size_t>(program)],
            .buffers = {{Space::constants, 0, sizeof(known), false},
                        {Space::input, 0, program == Program::init ? 8 : bytes, false},
                        {Space::input, last_input, program == Program::init ? 8 : bytes, false},
                        {Space::arena, 0, bytes, true},
                        {Space::arena, stride, 4, true}}};
  for (const StateEntry& entry : programs_.layout.entries) {
    step.buffers.push_back({Space::state, entry.offset, entry.type.byte_size(), true});
  }
  executable.steps = {step};
  if (program == Program::predict) {
    executable.outputs = {{"line", {ElementType::f32, {batch, 1}}, {Space::arena, 0, bytes}}};
  } else if (program != Program::init) {
    executable.outputs = {{"loss", {ElementType::f32, {}}, {Space::arena, 0, 4}},
                          {"rmse", {ElementType::f32, {}}, {Space::arena, stride, 4}}};
  }
  return executable;
}

Dataset toy_data(std::int64_t examples) {
  Dataset dataset{"toy data", {}};
  Tensor inputs(TensorType{ElementType::f32, {examples}});
  Tensor targets(TensorType{ElementType::f32, {examples}});
  for (std::int64_t i = 0; i < examples; ++i) {
    const float value = 2 * static_cast<float>(i) / static_cast<float>(examples) - 1;
    inputs.as<float>()[static_cast<std::size_t>(i)] = value;
    targets.as<float>()[static_cast<std::size_t>(i)] = 2 * value + 1;
  }
  dataset.arrays = {{"x", std::move(inputs)}, {"y", std::move(targets)}};
  return dataset;
}

float state_value(const StateLayout& layout, std::span<const std::byte> state,
                  const std::string& name) {
  float value = 0;
  std::memcpy(&value, state.data() + layout.find(name)->offset, sizeof(value));
  return value;
}

}  // namespace gradus::runtime::testing
