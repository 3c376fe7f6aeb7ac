#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "runtime/data/dataset.h"
#include "runtime/programs.h"

namespace gradus::runtime::testing {

/// What goes wrong in a step of the toy model, and when.
enum class Mishap : std::int64_t { none, nan_loss, infinite_weight, fault };

/// y = weight * x + bias with momentum, written by hand as kernels: state weight and bias
/// (parameters), a slot each, seed and step. Each step adds noise drawn from (seed, step) to the
/// gradient, so that a run which loses a counter is found out.
class ToyModel {
 public:
  explicit ToyModel(Mishap mishap = Mishap::none, std::int64_t at_step = -1);
  [[nodiscard]] const Programs& programs() const { return programs_; }

 private:
  [[nodiscard]] Executable compile(Program program, std::int64_t batch) const;

  Mishap mishap_;
  std::int64_t at_step_;
  Programs programs_;
  std::map<std::pair<Program, std::int64_t>, std::unique_ptr<Executable>> executables_;
};

/// y = 2x + 1 over `examples` evenly spaced x in [-1, 1).
[[nodiscard]] Dataset toy_data(std::int64_t examples);

/// The f32 scalar at state entry `name`.
[[nodiscard]] float state_value(const StateLayout& layout, std::span<const std::byte> state,
                                const std::string& name);

}  // namespace gradus::runtime::testing
