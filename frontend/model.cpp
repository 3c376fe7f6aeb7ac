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

/// Every loss, in the specification's order; fewer when some fail.
std::vector<ir::Expr> build_losses(const ModelSpec& spec, Forward& forward, Findings& findings) {
  std::vector<ir::Expr> losses;
  for (const LossSpec& loss : spec.losses) {
    if (const auto value = build_loss(spec, forward, loss, forward.state.parameters, findings))
      losses.push_back(*value);
  }
  return losses;
}

/// All layers in one run, and the losses.
std::vector<ir::Expr> build_all(const ModelSpec& spec, Forward& forward, Findings& findings) {
  build_forward(spec, forward, every_layer(spec), findings);
  return build_losses(spec, forward, findings);
}

}  // namespace

Model::Model(const std::string& file, std::string text, const std::vector<std::string>& overrides)
    : text_(std::move(text)), spec_(read(file, text_, overrides)) {
  Findings findings;
  Forward forward("check", kAnyBatch, Purpose::training);
  const std::vector<ir::Expr> losses = build_all(spec_, forward, findings);
  for (const MetricSpec& metric : spec_.metrics) build_metric(spec_, forward, metric, findings);
  findings.raise();
  check_updates(spec_, forward, losses, findings);
  findings.raise();
  // Initial values are drawn with the seed and step of the first training step, so their streams
  // must differ from those of the layers too.
  for (const ParameterSpec& parameter : forward.state.parameters) {
    (void)forward.streams.of(parameter.name, parameter.where());
  }
  parameters_ = std::move(forward.state.parameters);
  layers_ = std::move(forward.layers);
  carried_ = std::move(forward.state.carried);
  state_ = state_of(spec_, parameters_, carried_);
}

std::int64_t Model::step_batch() const { return spec_.training.batch * spec_.parts(); }

ir::Graph Model::init() const { return build_init(spec_, parameters_, carried_); }

ir::Graph Model::train_step(std::int64_t batch) const {
  return build_train_step(spec_, parameters_, batch);
}

ir::Graph Model::losses(std::int64_t batch) const {
  Findings findings;
  Forward forward("losses", batch, Purpose::training);
  forward.carried_batch = spec_.training.batch;
  const std::vector<ir::Expr> losses = build_all(spec_, forward, findings);
  findings.raise();
  for (std::size_t i = 0; i < losses.size(); ++i) {
    forward.graph.add_result(spec_.losses[i].name, losses[i].value);
  }
  return std::move(forward.graph);
}

ir::Graph Model::evaluate(std::int64_t batch) const {
  Findings findings;
  Forward forward("evaluate", batch, Purpose::evaluation);
  forward.carried_batch = spec_.training.batch;
  const std::vector<ir::Expr> losses = build_all(spec_, forward, findings);
  findings.raise();
  for (std::size_t i = 0; i < losses.size(); ++i) {
    add_loss(spec_, forward, spec_.losses[i], losses[i]);
  }
  for (const MetricSpec& metric : spec_.metrics) build_metric(spec_, forward, metric, findings);
  findings.raise();
  build_carried(forward);
  return std::move(forward.graph);
}

ir::Graph Model::predict(std::int64_t batch) const {
  Findings findings;
  Forward forward("predict", batch, Purpose::prediction);
  forward.carried_batch = spec_.training.batch;
  build_forward(spec_, forward, every_layer(spec_), findings);
  build_outputs(spec_, forward, findings);
  findings.raise();
  build_carried(forward);
  return std::move(forward.graph);
}

DecodeProgram Model::decode(std::int64_t batch, const Sampling& sampling,
                            std::int64_t count) const {
  return build_decode(spec_, layers_, batch, sampling, count);
}

}  // namespace gradus::frontend
