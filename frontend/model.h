#pragma once

// A model file: checked, and turned into the graphs of its programs.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/json.h"
#include "frontend/layers.h"
#include "ir/compositions/losses.h"
#include "ir/graph.h"

namespace gradus::frontend {

struct ModelInput {
  std::string name;
  TensorType example;  // without the batch axis
};

enum class StateKind : std::uint8_t { parameter, slot, counter };
struct StateSpec {
  std::string name;
  TensorType type;
  StateKind kind = StateKind::parameter;
};

struct MetricSpec {
  std::string name;
  ir::Aggregation aggregation = ir::Aggregation::mean;
};

/// The "data" object: which source, and its options as they stand in the file.
struct DataSpec {
  std::string source;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
  double validation = 0;
  bool shuffle = true;
  SourceLocation where;
};

struct TrainingSpec {
  std::int64_t epochs = 0;  // 0: `steps` counts
  std::int64_t steps = 0;
  std::int64_t batch = 32;  // 0: all examples
  std::uint64_t seed = 1;
};

/// One row of the model table.
struct LayerSummary {
  std::string path;
  std::string kind;
  TensorType result;  // without the batch axis
  std::int64_t parameters = 0;
};

class Model {
 public:
  /// Parses and checks everything that does not need data. `overrides` are "key.path=value".
  /// Throws UserError with all findings.
  Model(std::string file, std::string text, const std::vector<std::string>& overrides = {});

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] const DataSpec& data() const { return data_; }
  [[nodiscard]] const TrainingSpec& training() const { return training_; }
  [[nodiscard]] const std::vector<ModelInput>& inputs() const { return inputs_; }
  [[nodiscard]] const std::vector<MetricSpec>& metrics() const { return metrics_; }
  [[nodiscard]] const std::vector<StateSpec>& state() const { return state_; }
  [[nodiscard]] const std::vector<LayerSummary>& layers() const { return summaries_; }
  [[nodiscard]] const std::vector<ParameterSpec>& parameters() const { return parameters_; }

  // The programs. Outputs of train_step and evaluate: "loss" and the metrics, f32 scalars; of
  // predict: the last layer, or the layers of "outputs".
  [[nodiscard]] ir::Graph init() const;
  [[nodiscard]] ir::Graph train_step(std::int64_t batch) const;
  [[nodiscard]] ir::Graph evaluate(std::int64_t batch) const;
  [[nodiscard]] ir::Graph predict(std::int64_t batch) const;

 private:
  struct Built;  // a forward graph with its values by name
  void check(Findings& findings);
  void read_data(Findings& findings);
  void read_training(Findings& findings);
  Built forward(std::string program, std::int64_t batch, bool training, Findings& findings) const;
  ir::Expr build_layer(Built& built, const Json& json, bool training, Findings& findings) const;
  std::vector<ir::Expr> layer_inputs(Built& built, ObjectReader& reader, Findings& findings) const;
  std::optional<ir::Expr> value(Built& built, const std::string& name, const SourceLocation& where,
                                Findings& findings) const;
  ir::Expr loss(Built& built, Findings& findings) const;
  void add_metrics(Built& built, Findings& findings, std::vector<MetricSpec>* specs) const;
  void add_updates(Built& built, ir::Expr loss, Findings& findings,
                   std::vector<StateSpec>* state) const;
  ir::Expr learning_rate(Built& built, ObjectReader& reader, double fallback,
                         Findings& findings) const;
  ir::Graph finish(Built&& built, Findings& findings) const;

  std::string file_;
  std::string text_;
  Json json_;
  std::string name_;
  std::vector<ModelInput> inputs_;
  std::vector<MetricSpec> metrics_;
  std::vector<StateSpec> state_;
  std::vector<LayerSummary> summaries_;
  std::vector<ParameterSpec> parameters_;
  DataSpec data_;
  TrainingSpec training_;
};

}  // namespace gradus::frontend
