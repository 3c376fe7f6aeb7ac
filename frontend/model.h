#pragma once

// A model file: checked, and turned into the graphs of its programs.

#include <cstdint>
#include <string>
#include <vector>

#include "frontend/build.h"
#include "frontend/json.h"
#include "frontend/spec.h"
#include "ir/graph.h"

namespace gradus::frontend {

class Model {
 public:
  /// Parses and checks everything that does not need data: what is built later does not fail.
  /// `file` names the text in messages, `overrides` are "key.path=value". Throws UserError with
  /// all findings.
  Model(const std::string& file, std::string text, const std::vector<std::string>& overrides = {});

  [[nodiscard]] const ModelSpec& spec() const { return spec_; }
  [[nodiscard]] const std::string& name() const { return spec_.name; }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] const DataSpec& data() const { return spec_.data; }
  [[nodiscard]] const TrainingSpec& training() const { return spec_.training; }
  [[nodiscard]] const std::vector<ModelInput>& inputs() const { return spec_.inputs; }
  [[nodiscard]] const std::vector<MetricSpec>& metrics() const { return spec_.metrics; }
  [[nodiscard]] const std::vector<StateSpec>& state() const { return state_; }
  [[nodiscard]] const std::vector<LayerSummary>& layers() const { return layers_; }
  [[nodiscard]] const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  /// The file with every default written out.
  [[nodiscard]] std::string resolved() const { return resolved_json(spec_); }

  /// Examples of a training step: "batch" for each of its parts; 0: all.
  [[nodiscard]] std::int64_t step_batch() const;

  // The programs. Outputs of train_step and evaluate: the losses by name and the metrics, f32
  // scalars that are means over the batch, and "<name>/counts" of those that may have none; of
  // predict: the last layer, or the layers of "outputs".

  /// Writes the whole state from the scalar input "initial_seed".
  [[nodiscard]] ir::Graph init() const;
  /// Updates what is trained, statistics and the counter of steps.
  [[nodiscard]] ir::Graph train_step(std::int64_t batch) const;
  /// The losses as in training, on one state and without updates.
  [[nodiscard]] ir::Graph losses(std::int64_t batch) const;
  [[nodiscard]] ir::Graph evaluate(std::int64_t batch) const;
  [[nodiscard]] ir::Graph predict(std::int64_t batch) const;
  /// The next token of sequences. Throws UserError E0214 when the model has no such program.
  [[nodiscard]] DecodeProgram decode(std::int64_t batch, const Sampling& sampling,
                                     std::int64_t count = 1) const;

 private:
  std::string text_;
  ModelSpec spec_;
  std::vector<StateSpec> state_;
  std::vector<LayerSummary> layers_;
  std::vector<ParameterSpec> parameters_;
  std::vector<CarriedSpec> carried_;
};

}  // namespace gradus::frontend
