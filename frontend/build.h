#pragma once

// From a specification to graphs. Every node knows the value of the file that it comes from.

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "frontend/spec.h"

namespace gradus::frontend {

/// A batch size that stands for any: messages say "batch" for it. With it, a value of an example
/// may have up to kMaximumElements / kAnyBatch = 2^27 elements.
inline constexpr std::int64_t kAnyBatch = 8191;

enum class StateKind : std::uint8_t { parameter, statistic, slot, counter };
struct StateSpec {
  std::string name;
  TensorType type;
  StateKind kind = StateKind::parameter;
  ir::Provenance provenance;
};

/// One row of the model table.
struct LayerSummary {
  std::string path;
  std::string kind;
  TensorType result;  // without the batch axis
  std::int64_t parameters = 0;
  SourceLocation where;
};

/// A program under construction. Stays where it is: its values point to its graph.
struct Forward {
  Forward(std::string program, std::int64_t batch_size, bool for_training)
      : graph(std::move(program)), batch(batch_size), training(for_training) {}
  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  ir::Graph graph;
  std::int64_t batch;
  bool training;
  std::map<std::string, LayerInput> values;  // inputs that are read, and layers
  std::set<std::string> failed;              // layers whose errors are reported already
  std::vector<ParameterSpec> parameters;
  std::vector<StatisticUpdate> updates;
  std::vector<LayerSummary> layers;
  Streams streams;
};

/// The layers on a batch, in a new program. Inputs that nothing reads are not in the graph. What
/// does not fit is E0204, once: layers that read a failed one are silent.
void build_forward(const ModelSpec& spec, Forward& forward, Findings& findings);

/// The mean loss with the penalties of the parameters, as result "loss"; empty when it failed.
std::optional<ir::Expr> build_loss(const ModelSpec& spec, Forward& forward, Findings& findings);

/// A result per metric.
void build_metrics(const ModelSpec& spec, Forward& forward, Findings& findings);

/// The outputs as results of their names.
void build_outputs(const ModelSpec& spec, Forward& forward, Findings& findings);

/// Gradients, clipping, weight decay and the optimizer: an update per parameter, slot, statistic
/// and step.
void build_updates(const ModelSpec& spec, Forward& forward, ir::Expr loss);

/// The state of the model: parameters and statistics, then slots, then the counters "seed" and
/// "step".
[[nodiscard]] std::vector<StateSpec> state_of(const ModelSpec& spec,
                                              std::span<const ParameterSpec> parameters);

/// Seed -> state. The input is the scalar i64[] "initial_seed": "seed" is a state of that name.
[[nodiscard]] ir::Graph build_init(const ModelSpec& spec,
                                   std::span<const ParameterSpec> parameters);

}  // namespace gradus::frontend
