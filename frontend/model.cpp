#include "frontend/model.h"

namespace gradus::frontend {
namespace {

ModelSpec read(const std::string& file, std::string_view text,
               const std::vector<std::string>& overrides) {
  Json json = parse_json(text, file);
  for (const std::string& assignment : overrides) apply_override(json, assignment);
  ModelSpec spec = read_spec(json);
  spec.file = file;
  return spec;
}

}  // namespace

Model::Model(const std::string& file, std::string text, const std::vector<std::string>& overrides)
    : text_(std::move(text)), spec_(read(file, text_, overrides)) {
  Findings findings;
  Forward forward("check", kAnyBatch, true);
  build_forward(spec_, forward, findings);
  (void)build_loss(spec_, forward, findings);
  build_metrics(spec_, forward, findings);
  findings.raise();
  // Initial values are drawn with the seed and step of the first training step, so their streams
  // must differ from those of the layers too.
  for (const ParameterSpec& parameter : forward.parameters) {
    (void)forward.streams.of(parameter.name, parameter.where());
  }
  parameters_ = std::move(forward.parameters);
  layers_ = std::move(forward.layers);
  state_ = state_of(spec_, parameters_);
}

ir::Graph Model::init() const { return build_init(spec_, parameters_); }

ir::Graph Model::train_step(std::int64_t batch) const {
  Findings findings;
  Forward forward("train_step", batch, true);
  build_forward(spec_, forward, findings);
  const std::optional<ir::Expr> loss = build_loss(spec_, forward, findings);
  build_metrics(spec_, forward, findings);
  findings.raise();
  build_updates(spec_, forward, *loss);
  return std::move(forward.graph);
}

ir::Graph Model::evaluate(std::int64_t batch) const {
  Findings findings;
  Forward forward("evaluate", batch, false);
  build_forward(spec_, forward, findings);
  (void)build_loss(spec_, forward, findings);
  build_metrics(spec_, forward, findings);
  findings.raise();
  return std::move(forward.graph);
}

ir::Graph Model::predict(std::int64_t batch) const {
  Findings findings;
  Forward forward("predict", batch, false);
  build_forward(spec_, forward, findings);
  build_outputs(spec_, forward, findings);
  findings.raise();
  return std::move(forward.graph);
}

}  // namespace gradus::frontend
