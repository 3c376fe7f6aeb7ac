#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/data/dataset.h"
#include "runtime/executor.h"
#include "runtime/metrics.h"
#include "runtime/programs.h"

namespace gradus::runtime {

/// Set by a signal handler to ask for an early end; null: never.
using InterruptFlag = const volatile std::sig_atomic_t*;

/// Sets what is carried from batch to batch to 0.
void begin_pass(const StateLayout& layout, std::span<std::byte> state);

/// Runs `evaluate` over every example in order (or in contiguous order), in batches of `batch` (0:
/// all at once) and a smaller last one; empty when interrupted. Throws UserError E3002 on a fault,
/// E1011 when the data set is empty. What is carried from batch to batch begins with 0 and is
/// restored at the end.
[[nodiscard]] std::optional<std::vector<MetricValue>> evaluate(
    const Programs& programs, Executor& executor, std::span<std::byte> state,
    const Dataset& dataset, std::int64_t batch, const std::vector<Metric>& metrics,
    InterruptFlag interrupted = nullptr);

/// Runs `predict` likewise; each output of all examples, in the data set's order.
[[nodiscard]] std::vector<DataArray> predict(const Programs& programs, Executor& executor,
                                             std::span<std::byte> state, const Dataset& dataset,
                                             std::int64_t batch);

/// Runs `init`; returns the new state. Throws UserError E3002 on a fault.
[[nodiscard]] AlignedBytes initial_state(const Programs& programs, Executor& executor,
                                         std::uint64_t seed);

/// Says in words what a fault word means: kind, node and position.
[[nodiscard]] std::string describe_fault(const Executable& executable, const RunResult& result);

}  // namespace gradus::runtime
