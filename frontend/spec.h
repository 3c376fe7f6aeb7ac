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
  std::string kind;             // "dense", or the op's name
  bool named = false;           // in the file
  std::vector<Reference> from;  // inputs or earlier layers, by name
  Settings settings;
  SourceLocation where;  // of the kind
  BlockUses uses;
};

/// What a loss or metric compares.
struct Comparison {
  std::string prediction_key;  // "logits", "probabilities" or "predictions"
  Reference prediction;
  std::string target_key;  // "labels" or "targets"
  Reference target;
  SourceLocation where = {};
  [[nodiscard]] ir::Prediction kind() const;
};

struct LossSpec {
  const ir::Loss* record = nullptr;
  Comparison comparison;
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

/// Which source gives the data, with all of its options.
struct DataSpec {
  std::string source;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
  double validation = 0;  // share of the examples
  bool shuffle = true;
  SourceLocation where = {};
};

struct TrainingSpec {
  std::int64_t epochs = 0;  // exactly one of epochs and steps is positive
  std::int64_t steps = 0;
  std::int64_t batch = 32;  // 0: all examples
  std::uint64_t seed = 1;
};

struct ModelSpec {
  std::string file;
  std::string name;
  DataSpec data;
  std::vector<ModelInput> inputs;
  std::vector<LayerSpec> layers;
  std::vector<Reference> outputs;  // what predict gives; in the file or the last layer
  LossSpec loss;
  std::vector<MetricSpec> metrics;
  OptimizerSpec optimizer;
  TrainingSpec training;
};

/// Checks a model file and resolves its names; shapes are checked when graphs are built. Throws
/// UserError with all findings.
[[nodiscard]] ModelSpec read_spec(const Json& json);

/// The same model with every default written out: JSON that reads as an equal specification.
[[nodiscard]] std::string resolved_json(const ModelSpec& spec);

/// The data sources with their options.
[[nodiscard]] std::span<const Alternative> data_sources();
/// The options of an optimizer: learning_rate (a number or a schedule), its hyperparameters,
/// clip_norm, and weight_decay where the method has none of its own.
[[nodiscard]] std::span<const Alternative> optimizer_alternatives();

}  // namespace gradus::frontend
