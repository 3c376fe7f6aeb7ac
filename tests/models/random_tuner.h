#pragma once

#include "codegen/tune.h"
#include "tests/support/random.h"

namespace gradus {

/// Chooses schedules at random.
class RandomTuner : public codegen::Tuner {
 public:
  explicit RandomTuner(std::uint64_t seed) : random_(seed) {}

  std::size_t choose(const std::vector<codegen::ScheduledKernel>& cheapest,
                     const Schedule& /*schedule*/, const codegen::Target& /*target*/) override {
    const auto count = static_cast<std::int64_t>(cheapest.back().considered.size());
    return static_cast<std::size_t>(random_.between(0, count - 1));
  }

 private:
  support::Random random_;
};

}  // namespace gradus
