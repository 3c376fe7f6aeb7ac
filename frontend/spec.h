#pragma once

// A model file as plain values: names resolved to records, every option with its value, every value
// with its place.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "frontend/layers.h"
#include "frontend/reader.h"
#include "ir/compositions/losses.h"
#include "ir/compositions/optimizers.h"

namespace gradus::frontend {

/// One array per example: "image" f32[28,28,1].
struct ModelInput {
  std::string name;
  TensorType example;  // without the batch axis
  SourceLocation where = {};
};

struct LayerSpec {
  const Layer* layer = nullptr;      // null: an op
  const ir::OpRecord* op = nullptr;  // null: a layer
  std::string name;
  std::string kind;               // "dense", or the op's name
  bool named = false;             // in the file
  std::vector<Reference> from;    // inputs or earlier layers, by name
  std::string owner;              // its parameters are those of this name
  bool shared = false;            // with all layers of that owner
  bool time_distributed = false;  // does with every time what it does with an example
  Settings settings;
  SourceLocation where;  // of the kind
  BlockUses uses;
};

/// What a loss or metric compares.
struct Comparison {
  std::string prediction_key;  // "logits", "probabilities", "predictions" or "values"
  Reference prediction;
  std::string target_key;  // "labels" or "targets"; empty where there is nothing to compare with
  Reference target;
  std::optional<double> number;      // the target: the same for every element
  std::optional<Reference> weights;  // "sample_weights"
  SourceLocation where = {};
  [[nodiscard]] ir::Prediction kind() const;
};

/// A loss is the sum of its terms.
struct LossTerm {
  const ir::Loss* record = nullptr;
  Comparison comparison;
  double weight = 1;
};
struct LossSpec {
  std::string name;
  std::vector<LossTerm> terms;
  SourceLocation where = {};
};

struct MetricSpec {
  std::string name;
  ir::Aggregation aggregation = ir::Aggregation::mean;
  const ir::Metric* record = nullptr;
  Comparison comparison;
};

struct OptimizerSpec {
  const ir::Optimizer* method = nullptr;
  Settings settings;  // learning_rate, the method's hyperparameters, weight_decay, clip_norm
  SourceLocation where = {};
};

/// One way in which a training step changes parameters.
struct UpdateSpec {
  std::size_t loss = 0;       // of the specification's
  std::vector<Reference> of;  // modules, layers or blocks; none: everything
  OptimizerSpec optimizer;
  std::int64_t repeat = 1;  // runs in a training step
  SourceLocation where = {};

  /// Whether it changes the parameter of that name.
  [[nodiscard]] bool names(const std::string& parameter) const;
};

/// Which source gives the data, with all of its options.
struct DataSpec {
  std::string source;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
  double validation = 0;  // share of the examples
  bool shuffle = true;
  bool contiguous = false;  // example i of a batch follows example i of the batch before
  SourceLocation where = {};
};

struct TrainingSpec {
  std::int64_t epochs = 0;  // exactly one of epochs and steps is positive
  std::int64_t steps = 0;
  std::int64_t batch = 32;  // examples of a run; 0: all
  std::uint64_t seed = 1;
};

struct ModelSpec {
  std::string file;
  std::string name;
  DataSpec data;
  std::vector<ModelInput> inputs;
  std::vector<LayerSpec> layers;
  std::vector<Reference> outputs;  // what predict gives; in the file or the last layer
  std::vector<LossSpec> losses;
  std::vector<MetricSpec> metrics;
  std::vector<UpdateSpec> updates;  // in the order of a training step
  TrainingSpec training;

  /// Into how many parts a training step cuts its examples: the greatest number of runs.
  [[nodiscard]] std::int64_t parts() const;
};

/// Checks a model file and resolves its names; shapes are checked when graphs are built. Throws
/// UserError with all findings.
[[nodiscard]] ModelSpec read_spec(const Json& json);

/// The same model with every default written out: JSON that reads as an equal specification.
[[nodiscard]] std::string resolved_json(const ModelSpec& spec);

/// What all data sources may be told.
[[nodiscard]] std::span<const Option> data_options();
/// The data sources with their options.
[[nodiscard]] std::span<const Alternative> data_sources();
/// The options of an optimizer: learning_rate (a number or a schedule), its hyperparameters,
/// clip_norm, and weight_decay where the method has none of its own.
[[nodiscard]] std::span<const Alternative> optimizer_alternatives();

}  // namespace gradus::frontend
