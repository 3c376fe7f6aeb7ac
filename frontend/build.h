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

enum class StateKind : std::uint8_t { parameter, statistic, slot, carried, counter };
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

/// A program under construction. Stays where it is: its values point to its graph. Layers are
/// evaluated in runs, each on its examples and on the state as the run before has left it.
struct Forward {
  Forward(std::string program, std::int64_t batch_size, Purpose what_for)
      : graph(std::move(program)),
        batch(batch_size),
        purpose(what_for),
        carried_batch(batch_size),
        run{0, 1, 0, batch_size} {}
  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  /// Nothing is evaluated yet, on other examples.
  void start(const Run& next);

  ir::Graph graph;
  std::int64_t batch;  // examples of the program
  Purpose purpose;
  std::int64_t carried_batch;  // examples whose state layers carry from batch to batch
  std::optional<Decoding> decoding = {};
  std::span<const LayerSummary> whole = {};  // the layers on whole sequences; when decoding
  StateValues state;
  Streams streams;
  // Of the run:
  Run run;
  std::map<std::string, LayerInput> values;  // inputs that are read, and layers
  std::set<std::string> failed;              // layers whose errors are reported already
  std::vector<LayerSummary> layers;
};

/// Of layers: which are evaluated.
using Selection = std::vector<bool>;
[[nodiscard]] Selection every_layer(const ModelSpec& spec);
/// Those on which the values of these names depend, and those whose parameters they are tied to.
[[nodiscard]] Selection layers_for(const ModelSpec& spec, std::set<std::string> names);

/// The layers of the run. Inputs that nothing reads are not in the graph. What does not fit is
/// E0204, or E0214 when decoding, once: layers that read a failed one are silent.
void build_forward(const ModelSpec& spec, Forward& forward, const Selection& selection,
                   Findings& findings);

/// A value of the state as it stands.
[[nodiscard]] ir::Expr state_value(Forward& forward, const std::string& name,
                                   const TensorType& type);

/// A loss with the penalties of those parameters of the model that it trains; empty when it failed.
std::optional<ir::Expr> build_loss(const ModelSpec& spec, Forward& forward, const LossSpec& loss,
                                   std::span<const ParameterSpec> parameters, Findings& findings);

/// `value`, of the loss, as a result of its name. Where all of its terms have weights, the result
/// "<name>/counts" is 0 for a batch without any, which has no such mean, else 1.
void add_loss(const ModelSpec& spec, Forward& forward, const LossSpec& loss, ir::Expr value);

/// A result of the metric's name; "<name>/counts" as for a loss.
void build_metric(const ModelSpec& spec, Forward& forward, const MetricSpec& metric,
                  Findings& findings);

/// The outputs as results of their names.
void build_outputs(const ModelSpec& spec, Forward& forward, Findings& findings);

/// Reports E0213 for what stands in the "of" of an update and has no parameter that its loss
/// (`losses` by number, all layers built in `forward`) can train.
void check_updates(const ModelSpec& spec, const Forward& forward, std::span<const ir::Expr> losses,
                   Findings& findings);

/// Run `index` of an update: gradients, clipping, weight decay and the optimizer make new values of
/// parameters and slots.
void build_update(const ModelSpec& spec, std::size_t update, std::int64_t index, Forward& forward,
                  std::span<const ParameterSpec> parameters, ir::Expr loss);
/// A result per value that layers carry to the next batch.
void build_carried(Forward& forward);
/// A result per value of the state that is another than before, the counter of steps included.
void build_state(const ModelSpec& spec, Forward& forward,
                 std::span<const ParameterSpec> parameters);

/// The updates one after another, each on the state that the one before has left. A step's
/// examples are cut into as many parts as an update has runs at most; run i of any update reads
/// part i and random numbers of its own, and does not happen where few examples leave it none.
/// Losses and metrics are results, of the last run that has them.
[[nodiscard]] ir::Graph build_train_step(const ModelSpec& spec,
                                         std::span<const ParameterSpec> parameters,
                                         std::int64_t batch);

/// The state of the model: parameters and statistics, then slots, then what layers carry from batch
/// to batch, then the counters "seed" and "step".
[[nodiscard]] std::vector<StateSpec> state_of(const ModelSpec& spec,
                                              std::span<const ParameterSpec> parameters,
                                              std::span<const CarriedSpec> carried);

/// What is carried for a batch of so many examples.
[[nodiscard]] StateSpec carried_state(const CarriedSpec& carried, std::int64_t batch);

/// Seed -> state. The input is the scalar i64[] "initial_seed": "seed" is a state of that name.
[[nodiscard]] ir::Graph build_init(const ModelSpec& spec, std::span<const ParameterSpec> parameters,
                                   std::span<const CarriedSpec> carried);

/// How the next token is chosen.
struct Sampling {
  bool greedy = false;      // always the likeliest
  double temperature = 1;   // by which logits are divided
  std::int64_t top_k = 0;   // only of so many likeliest tokens; 0: of all
  std::int64_t tokens = 0;  // that there are; 0: as many as there are logits
};

/// A program in two: what is computed once leaves its results as states for what is run again.
struct SplitDecode {
  ir::Graph once;
  ir::Graph again;
  std::vector<StateSpec> carried;
};
/// Of a graph some of whose inputs are given `whole`: what depends on them and on parameters alone
/// is computed once.
[[nodiscard]] SplitDecode split_decode(const ir::Graph& graph,
                                       std::span<const ParameterSpec> parameters,
                                       std::span<const std::string> whole);

/// A program that reads a token of each of `batch` sequences and chooses the next one.
struct DecodeProgram {
  ir::Graph graph;
  std::vector<StateSpec> carried;  // the state that it has beside the model's
  std::string token;               // its input, i32[batch, count]
  std::int64_t positions = 0;      // that it has; 0: any number
  std::int64_t tokens = 0;         // that it can read; 0: not known
  // Of an encoder and decoder:
  std::optional<ir::Graph> encode = {};  // reads the source, before the first token
  std::string source = {};               // its input, i32[batch, positions]
  std::int64_t source_positions = 0;
  std::int64_t source_tokens = 0;  // as tokens
};

/// Every layer's form for one position after another, then the next token: the class whose
/// logit / temperature + Gumbel number is greatest. The Gumbel numbers -log(-log(u)) are of uniform
/// u from the stream "generate/sample" and the counters "seed" and "step", and each run is a step.
/// Inputs are the tokens and the scalar "position"; results are "logits" and "next". Where the
/// prediction depends on another sequence, too, that is read once by a program of its own. With a
/// `count` the program reads so many first tokens in one run, leaves the same state and chooses as
/// from the last one. Throws UserError E0214 where there is no such form.
[[nodiscard]] DecodeProgram build_decode(const ModelSpec& spec, std::span<const LayerSummary> whole,
                                         std::int64_t batch, const Sampling& sampling,
                                         std::int64_t count = 1);

}  // namespace gradus::frontend
