#include "codegen/tune.h"

#include <algorithm>
#include <numeric>

#include "base/aligned_memory.h"
#include "base/float_environment.h"
#include "base/stopwatch.h"
#include "base/tensor.h"
#include "codegen/jit.h"

namespace gradus::codegen {
namespace {

constexpr std::size_t kMostMeasured = 6;  // candidates
constexpr double kWorthwhile = 0.99;      // of the time of the model's own choice
constexpr std::size_t kLeastRounds = 5;
constexpr std::size_t kMostRounds = 25;
constexpr double kRoundSeconds = 0.02;  // all rounds of a candidate together

using Bytes = std::vector<std::byte, AlignedAllocator<std::byte>>;

/// The memory of all schedules: what they read is the same.
class Memory {
 public:
  std::byte* of(const Parameter& parameter, const TensorType& type) {
    Bytes& bytes = buffers_[parameter];
    const auto size = static_cast<std::size_t>(type.byte_size());
    if (bytes.size() < size) {
      bytes.resize(std::max<std::size_t>(size, 1));
      fill(bytes, type.element);
    }
    return bytes.data();
  }

 private:
  /// Numbers near 1; of integers, which may be indices, 0.
  static void fill(Bytes& bytes, ElementType type) {
    dispatch(type, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_floating_point_v<T>) {
        auto* values = reinterpret_cast<T*>(bytes.data());
        for (std::size_t i = 0; i < bytes.size() / sizeof(T); ++i) {
          values[i] = static_cast<T>(1) + static_cast<T>(i % 7) / 16;
        }
      }
    });
  }

  std::map<Parameter, Bytes> buffers_;
};

/// The kernels of one schedule, ready to run.
class Prepared {
 public:
  Prepared(const std::vector<ScheduledKernel>& schedule, const MachineCode& code, std::size_t first,
           Memory& memory) {
    std::int64_t scratch = 1;
    for (std::size_t i = 0; i < schedule.size(); ++i) {
      const ScheduledKernel& scheduled = schedule[i];
      Call& call = calls_.emplace_back();
      call.function = code.kernels[first + i].function;
      call.tasks = scheduled.kernel.task_count();
      scratch = std::max(scratch, code.kernels[first + i].scratch_bytes);
      for (std::size_t b = 0; b < scheduled.parameters.size(); ++b) {
        call.buffers.push_back(
            memory.of(scheduled.parameters[b], scheduled.kernel.buffers[b].type));
      }
    }
    scratch_.resize(static_cast<std::size_t>(scratch));
  }

  double run() {
    const Stopwatch watch;
    for (const Call& call : calls_) {
      runtime::FaultWord fault = 0;
      call.function(call.buffers.data(), scratch_.data(), 0, call.tasks, &fault);
    }
    return watch.seconds();
  }

 private:
  struct Call {
    runtime::KernelFunction function = nullptr;
    std::vector<std::byte*> buffers;
    std::int64_t tasks = 0;
  };
  std::vector<Call> calls_;
  Bytes scratch_;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

std::vector<double> measure_schedules(std::span<const std::vector<ScheduledKernel>> schedules,
                                      const Target& target, int threads) {
  std::vector<Kernel> kernels;
  for (const auto& schedule : schedules) {
    for (const ScheduledKernel& scheduled : schedule) kernels.push_back(scheduled.kernel);
  }
  const MachineCode code = compile(std::span<const Kernel>(kernels), target, threads);
  Memory memory;
  std::vector<Prepared> prepared;
  std::size_t first = 0;
  for (const auto& schedule : schedules) {
    prepared.emplace_back(schedule, code, first, memory);
    first += schedule.size();
  }
  const FloatEnvironment environment;
  std::vector<std::vector<double>> seconds(schedules.size());
  double warm = 0;
  for (Prepared& schedule : prepared) warm = std::max(warm, schedule.run());
  const auto rounds = static_cast<std::size_t>(std::clamp(kRoundSeconds / std::max(warm, 1e-9),
                                                          static_cast<double>(kLeastRounds),
                                                          static_cast<double>(kMostRounds)));
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < prepared.size(); ++i) seconds[i].push_back(prepared[i].run());
  }
  std::vector<double> medians;
  for (std::vector<double>& runs : seconds) medians.push_back(median(std::move(runs)));
  return medians;
}

std::size_t MeasuringTuner::choose(const std::vector<ScheduledKernel>& first,
                                   const Schedule& schedule, const Target& target) {
  const std::vector<Candidate>& considered = first.back().considered;
  if (considered.size() < 2 || !host_supports(target.set)) return 0;
  std::vector<const Kernel*> kernels;
  for (const ScheduledKernel& scheduled : first) kernels.push_back(&scheduled.kernel);
  const std::string key = choice_key(kernels, target);
  const auto [known, is_new] = known_.emplace(key, 0);
  if (!is_new) return known->second;
  if (store_ != nullptr) {
    if (const std::optional<std::string> entry = store_->load(key)) {
      const std::optional<std::string> text = decode_choice(key, *entry);
      const auto at = std::ranges::find_if(
          considered, [&](const Candidate& c) { return to_string(c.choice) == text; });
      if (at != considered.end()) {
        ++remembered_;
        return known->second = static_cast<std::size_t>(at - considered.begin());
      }
    }
  }
  known->second = measure(considered, schedule, target);
  ++measured_;
  if (store_ != nullptr) {
    store_->store(key, encode_choice(key, to_string(considered[known->second].choice)));
  }
  return known->second;
}

std::size_t MeasuringTuner::measure(const std::vector<Candidate>& considered,
                                    const Schedule& schedule, const Target& target) const {
  const std::vector<std::size_t> numbers = shortlist(considered, kMostMeasured);
  std::vector<std::vector<ScheduledKernel>> schedules;
  for (const std::size_t number : numbers) schedules.push_back(schedule(number));
  const std::vector<double> seconds = timer_(schedules, target);
  const auto best = std::ranges::min_element(seconds);
  if (*best >= kWorthwhile * seconds[0]) return 0;
  return numbers[static_cast<std::size_t>(best - seconds.begin())];
}

}  // namespace gradus::codegen
