#include "runtime/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/diagnostic.h"
#include "runtime/data/batches.h"

namespace gradus::runtime {
namespace {

/// Adds to the counter of steps while it lives: batches have random numbers of their own.
class Batch {
 public:
  Batch(const StateLayout& layout, std::span<std::byte> state, std::int64_t number) {
    const StateEntry* entry = layout.find("step");
    if (entry == nullptr) return;
    counter_ = state.subspan(static_cast<std::size_t>(entry->offset), sizeof saved_);
    std::memcpy(&saved_, counter_.data(), sizeof saved_);
    write(saved_ + number);
  }
  ~Batch() {
    if (!counter_.empty()) write(saved_);
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

 private:
  void write(std::int64_t value) { std::memcpy(counter_.data(), &value, sizeof value); }

  std::span<std::byte> counter_;
  std::int64_t saved_ = 0;
};

/// While it lives, what is carried from batch to batch is that of another pass over data, which
/// begins with 0.
class Pass {
 public:
  Pass(const StateLayout& layout, std::span<std::byte> state) {
    for (const StateEntry& entry : layout.entries) {
      if (entry.kind != StateKind::carried) continue;
      const std::span<std::byte> carried = state.subspan(
          static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.type.byte_size()));
      saved_.push_back({carried, {carried.begin(), carried.end()}});
    }
    begin_pass(layout, state);
  }
  ~Pass() {
    for (const auto& [carried, bytes] : saved_) std::ranges::copy(bytes, carried.begin());
  }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

 private:
  std::vector<std::pair<std::span<std::byte>, std::vector<std::byte>>> saved_;
};

/// Runs `program` on each batch in order and calls visit(executable, rows, batch index) after
/// each; stops when visit returns false.
template <typename Visit>
void for_each_batch(const Programs& programs, Program program, Executor& executor,
                    std::span<std::byte> state, const Dataset& dataset, std::int64_t batch,
                    Visit&& visit) {
  const BatchPlan plan{dataset.examples(), batch};
  if (plan.examples == 0) throw UserError("E1011", "there are no examples", {dataset.origin});
  BatchReader reader(dataset);
  const std::vector<std::uint32_t> order = programs.contiguous
                                               ? contiguous_order(plan.examples, plan.batch)
                                               : epoch_order(plan.examples, false, 0, 0);
  const Pass pass(programs.layout, state);
  for (std::int64_t i = 0; i < plan.batches(); ++i) {
    const auto rows = std::span<const std::uint32_t>(order).subspan(
        static_cast<std::size_t>(plan.first(i)), static_cast<std::size_t>(plan.size(i)));
    const Executable& executable = programs.executable(program, plan.size(i));
    const Batch counted(programs.layout, state, i);
    const RunResult result = executor.run(executable, state, reader.read(executable, rows));
    if (result.fault != 0) throw UserError("E3002", describe_fault(executable, result));
    if (!visit(executable, rows, i)) return;
  }
}

}  // namespace

std::optional<std::vector<MetricValue>> evaluate(const Programs& programs, Executor& executor,
                                                 std::span<std::byte> state, const Dataset& dataset,
                                                 std::int64_t batch,
                                                 const std::vector<Metric>& metrics,
                                                 InterruptFlag interrupted) {
  MetricSums sums(metrics);
  bool complete = true;
  for_each_batch(
      programs, Program::evaluate, executor, state, dataset, batch,
      [&](const Executable& executable, std::span<const std::uint32_t> rows, std::int64_t) {
        sums.add(executor, executable, static_cast<std::int64_t>(rows.size()));
        complete = interrupted == nullptr || *interrupted == 0;
        return complete;
      });
  if (!complete) return std::nullopt;
  return sums.values();
}

std::vector<DataArray> predict(const Programs& programs, Executor& executor,
                               std::span<std::byte> state, const Dataset& dataset,
                               std::int64_t batch) {
  std::vector<DataArray> arrays;
  for_each_batch(
      programs, Program::predict, executor, state, dataset, batch,
      [&](const Executable& executable, std::span<const std::uint32_t> rows, std::int64_t index) {
        for (std::size_t i = 0; i < executable.outputs.size(); ++i) {
          const Tensor part = executor.output(executable, i);
          if (index == 0) {
            TensorType type = part.type;
            type.shape.at(0) = dataset.examples();
            arrays.push_back(
                {executable.outputs[i].name, allocate_tensor(std::move(type), "predictions")});
          }
          Tensor& whole = arrays[i].tensor;
          const std::size_t row_bytes = part.bytes.size() / rows.size();
          for (std::size_t row = 0; row < rows.size(); ++row) {
            std::memcpy(whole.bytes.data() + rows[row] * row_bytes,
                        part.bytes.data() + row * row_bytes, row_bytes);
          }
        }
        return true;
      });
  return arrays;
}

AlignedBytes initial_state(const Programs& programs, Executor& executor, std::uint64_t seed) {
  AlignedBytes state = allocate(programs.layout.bytes, "the model's state");
  const Executable& executable = programs.executable(Program::init, 0);
  const Tensor input = Tensor::scalar(ElementType::i64, static_cast<std::int64_t>(seed));
  std::vector<std::span<const std::byte>> inputs;
  for (const ExecutableInput& expected : executable.inputs) {
    GRADUS_CHECK(expected.type == input.type, "init reads only a seed");
    inputs.emplace_back(input.bytes);
  }
  const RunResult result = executor.run(executable, state, inputs);
  if (result.fault != 0) throw UserError("E3002", describe_fault(executable, result));
  return state;
}

void begin_pass(const StateLayout& layout, std::span<std::byte> state) {
  for (const StateEntry& entry : layout.entries) {
    if (entry.kind != StateKind::carried) continue;
    std::ranges::fill(state.subspan(static_cast<std::size_t>(entry.offset),
                                    static_cast<std::size_t>(entry.type.byte_size())),
                      std::byte{0});
  }
}

std::string describe_fault(const Executable& executable, const RunResult& result) {
  const Step& step = executable.steps.at(result.step);
  const std::string from = step.provenance.empty() ? "" : " (" + step.provenance + ")";
  return fmt::format("{} at element {} in {}{}",
                     fault_kind(result.fault) == 1 ? "division by zero" : "index out of range",
                     result.fault & 0xFFFFFFFF, step.name, from);
}

}  // namespace gradus::runtime
