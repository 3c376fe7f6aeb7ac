#include "frontend/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ir/compositions/optimizers.h"
#include "ir/op.h"
#include "passes/differentiate.h"

namespace gradus::frontend {

using ir::Expr;

/// What a layer (or input) gave, for the layers and messages that come later.
struct NamedValue {
  Expr value;
  std::string kind;
  std::uint32_t line = 0;
};

struct Model::Built {
  ir::Graph graph;
  std::int64_t batch = 1;
  std::map<std::string, NamedValue> values;
  std::string previous;  // name of the last layer
  std::map<std::string, int> unnamed;  // layers without a name by kind
  std::vector<ParameterSpec> parameters;
  std::vector<LayerSummary> summaries;
};

namespace {

struct DataOption {
  std::string_view name;
  bool is_text;
  double least;
  double greatest;
};
struct DataSourceRecord {
  std::string_view name;
  std::vector<DataOption> options;
};

const std::vector<DataSourceRecord>& data_sources() {
  static const std::vector<DataSourceRecord> sources{
      {"linear",
       {{"slope", false, -1e6, 1e6},
        {"intercept", false, -1e6, 1e6},
        {"noise", false, 0, 1e6},
        {"examples", false, 1, 1e8},
        {"test_examples", false, 0, 1e8},
        {"seed", false, 0, 1e15}}},
      {"spirals",
       {{"classes", false, 2, 100},
        {"turns", false, 0, 10},
        {"noise", false, 0, 10},
        {"examples", false, 1, 1e8},
        {"test_examples", false, 0, 1e8},
        {"seed", false, 0, 1e15}}},
      {"digits",
       {{"examples", false, 1, 1e7}, {"test_examples", false, 0, 1e7}, {"seed", false, 0, 1e15}}},
      {"idx", {{"directory", true, 0, 0}}},
      {"tensors", {{"file", true, 0, 0}, {"test_file", true, 0, 0}}},
  };
  return sources;
}

template <typename Records>
std::vector<std::string> names_of(const Records& records) {
  std::vector<std::string> names;
  for (const auto& record : records) names.emplace_back(record.name);
  return names;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
  const std::string near = closest(word, known);
  return near.empty() ? "" : fmt::format("did you mean \"{}\"?", near);
}

ir::Provenance provenance_of(const SourceLocation& where, std::string layer, ir::Role role) {
  return {std::make_shared<ir::Origin>(ir::Origin{where, std::move(layer)}), role};
}

/// "f32[28,28]" of a batch value, without the batch axis.
TensorType example_type(const TensorType& type) {
  TensorType example = type;
  if (!example.shape.empty()) example.shape.erase(example.shape.begin());
  return example;
}

Expr input_of(ir::Graph& graph, const std::string& name, ir::InputKind kind, TensorType type) {
  return {&graph, graph.add_input(name, kind, std::move(type))};
}
const TensorType kCounter{ElementType::i64, {}};

}  // namespace

Model::Model(std::string file, std::string text, const std::vector<std::string>& overrides)
    : file_(std::move(file)), text_(std::move(text)), json_(parse_json(text_, file_)) {
  for (const std::string& assignment : overrides) apply_override(json_, assignment);
  Findings findings;
  check(findings);
  findings.raise();
}

void Model::check(Findings& findings) {
  ObjectReader top(&json_, "the model file", findings);
  if (top.required("gradus")) (void)top.integer("gradus", 1, 1, 1);
  name_ = top.text("name", "model");
  ObjectReader model(top.required("model"), "\"model\"", findings);
  if (const Json* inputs = model.required("inputs")) {
    ObjectReader reader(inputs, "\"inputs\"", findings);
    if (const Json::Object* members = inputs->get<Json::Object>()) {
      for (const Member& member : *members) {
        if (member.key == "comment") continue;
        const std::string written = reader.text(member.key, "");
        const std::optional<TensorType> type = parse_tensor_type(written);
        if (type) inputs_.push_back({member.key, *type});
        else findings.add("E0203",
                          fmt::format("input \"{}\" needs a type such as \"f32[28,28]\", found {}",
                                      member.key, member.value.describe()),
                          member.value.where);
      }
    }
    reader.finish();
  }
  (void)model.required("layers");
  (void)model.raw("outputs");
  model.finish();
  (void)top.required("data");
  (void)top.required("loss");
  (void)top.raw("metrics");
  (void)top.required("optimizer");
  (void)top.required("training");
  top.finish();
  read_data(findings);
  read_training(findings);
  findings.raise();
  // Shapes are checked by building; nothing depends on this batch size.
  Built built = forward("check", 2, true, findings);
  findings.raise();
  parameters_ = built.parameters;
  summaries_ = built.summaries;
  const Expr total = loss(built, findings);
  add_metrics(built, findings, &metrics_);
  findings.raise();
  for (const ParameterSpec& parameter : parameters_) {
    state_.push_back({parameter.name, parameter.type, StateKind::parameter});
  }
  add_updates(built, total, findings, &state_);
  state_.push_back({"seed", kCounter, StateKind::counter});
  state_.push_back({"step", kCounter, StateKind::counter});
}

void Model::read_data(Findings& findings) {
  const Json* json = json_.find("data");
  ObjectReader reader(json, "\"data\"", findings);
  data_.where = reader.where();
  data_.source = reader.required_text("source");
  data_.validation = reader.number("validation", 0, {0, 0.999});
  data_.shuffle = reader.boolean("shuffle", true);
  const auto& sources = data_sources();
  const auto source = std::ranges::find(sources, data_.source, &DataSourceRecord::name);
  if (source == sources.end()) {
    findings.add("E0205", fmt::format("unknown data source \"{}\"", data_.source), data_.where,
                 suggestion(data_.source, names_of(sources)));
    return;
  }
  for (const DataOption& option : source->options) {
    if (!reader.has(option.name)) continue;
    const std::string name(option.name);
    if (option.is_text) data_.texts[name] = reader.text(name, "");
    else data_.numbers[name] = reader.number(name, 0, {option.least, option.greatest});
  }
  reader.finish();
}

void Model::read_training(Findings& findings) {
  ObjectReader reader(json_.find("training"), "\"training\"", findings);
  training_.epochs = reader.integer("epochs", 0, 1);
  training_.steps = reader.integer("steps", 0, 1);
  if ((training_.epochs == 0) == (training_.steps == 0)) {
    findings.add("E0206", "\"training\" needs either \"epochs\" or \"steps\"", reader.where());
  }
  const Json* batch = reader.raw("batch");
  if (batch && batch->get<std::string>() && *batch->get<std::string>() == "full") {
    training_.batch = 0;
  } else {
    training_.batch = reader.integer("batch", 32, 1);
  }
  training_.seed = static_cast<std::uint64_t>(reader.integer("seed", 1, 0, std::int64_t{1} << 53));
  reader.finish();
}

std::optional<Expr> Model::value(Built& built, const std::string& name, const SourceLocation& where,
                                 Findings& findings) const {
  if (const auto known = built.values.find(name); known != built.values.end()) {
    return known->second.value;
  }
  for (const ModelInput& input : inputs_) {
    if (input.name != name) continue;
    TensorType type = input.example;
    type.shape.insert(type.shape.begin(), built.batch);
    const Expr x = input_of(built.graph, name, ir::InputKind::batch, type);
    built.values[name] = {x, "input", json_.find("model")->find("inputs")->where.line};
    return x;
  }
  std::vector<std::string> known = names_of(inputs_);
  for (const auto& [other, unused] : built.values) known.push_back(other);
  findings.add("E0207", fmt::format("there is no input or layer \"{}\" above", name), where,
               suggestion(name, known));
  return std::nullopt;
}

std::vector<Expr> Model::layer_inputs(Built& built, ObjectReader& reader,
                                      Findings& findings) const {
  std::vector<std::string> from = reader.names("from");
  if (from.empty()) {
    if (built.previous.empty() && inputs_.empty()) return {};
    from = {built.previous.empty() ? inputs_.front().name : built.previous};
  }
  std::vector<Expr> values;
  for (const std::string& name : from) {
    if (const std::optional<Expr> x = value(built, name, reader.where(), findings)) {
      values.push_back(*x);
    }
  }
  if (values.size() != from.size()) values.clear();
  return values;
}

Expr Model::build_layer(Built& built, const Json& json, bool training, Findings& findings) const {
  ObjectReader reader(&json, "a layer", findings);
  const std::string op = reader.text("op", "");
  const std::string kind = op.empty() ? reader.required_text("layer") : op;
  ObjectReader own(&json, kind, findings);
  (void)own.raw(op.empty() ? "layer" : "op");
  const Layer* layer = op.empty() ? find_layer(kind) : nullptr;
  std::string path = own.text("name", "");
  if (path.empty()) {
    const int number = built.unnamed[kind]++;
    path = number == 0 ? kind : fmt::format("{}_{}", kind, number);
  } else if (built.values.contains(path)) {
    findings.add("E0208", fmt::format("the name \"{}\" is taken already", path), json.where);
  }
  const std::vector<Expr> inputs = layer_inputs(built, own, findings);
  const Json* named = json.find(op.empty() ? "layer" : "op");
  const SourceLocation where = named ? named->where : json.where;
  if (inputs.empty()) return {};
  built.graph.set_provenance(provenance_of(where, path, ir::Role::forward));
  Expr result = inputs[0];
  const std::size_t before = built.parameters.size();
  if (op.empty() && !layer) {
    findings.add("E0205", fmt::format("unknown layer \"{}\"", kind), where,
                 suggestion(kind, names_of(frontend::layers())));
  } else {
    LayerBuilder builder(built.graph, own, path, training, inputs, built.parameters);
    try {
      result = layer ? layer->build(builder) : build_op_layer(builder, op);
      if (result.rank() == 0 || result.shape()[0] != built.batch) {
        throw ir::TypeError(fmt::format("the result {} lost the batch axis",
                                        to_string(result.type())));
      }
    } catch (const ir::TypeError& error) {
      std::string sources;
      for (const auto& [name, known] : built.values) {
        for (Expr x : inputs) {
          if (known.value.value != x.value) continue;
          sources += fmt::format("; '{}' (line {}) gives {}", name, known.line,
                                 to_string(example_type(x.type())));
          break;
        }
      }
      findings.add("E0204", fmt::format("{} '{}': {}{}", kind, path, error.what(), sources), where);
      result = inputs[0];
    }
    own.finish();
  }
  std::int64_t count = 0;
  for (std::size_t i = before; i < built.parameters.size(); ++i) {
    count += built.parameters[i].type.element_count();
  }
  built.summaries.push_back({path, kind, example_type(result.type()), count});
  built.values[path] = {result, kind, where.line};
  built.previous = path;
  return result;
}

Model::Built Model::forward(std::string program, std::int64_t batch, bool training,
                            Findings& findings) const {
  Built built{ir::Graph(std::move(program)), batch, {}, {}, {}, {}, {}};
  const Json* layers = json_.find("model")->find("layers");
  const Json::Array* list = layers->get<Json::Array>();
  if (!list || list->empty()) {
    findings.add("E0203", fmt::format("\"layers\" must be a list of layers, found {}",
                                      layers->describe()),
                 layers->where);
    findings.raise();
  }
  for (const Json& layer : *list) (void)build_layer(built, layer, training, findings);
  return built;
}

Expr Model::loss(Built& built, Findings& findings) const {
  const Json* json = json_.find("loss");
  ObjectReader reader(json, "\"loss\"", findings);
  const std::string name = reader.required_text("function");
  const ir::Loss* record = ir::find_loss(name);
  if (!record) {
    findings.add("E0205", fmt::format("unknown loss \"{}\"", name), reader.where(),
                 suggestion(name, names_of(ir::losses())));
  }
  built.graph.set_provenance(provenance_of(reader.where(), "loss", ir::Role::forward));
  const std::string key = reader.has("logits") ? "logits"
                          : reader.has("probabilities") ? "probabilities" : "predictions";
  const ir::Prediction kind = key == "logits"          ? ir::Prediction::logit
                              : key == "probabilities" ? ir::Prediction::probability
                                                       : ir::Prediction::value;
  const std::string target_key = reader.has("labels") ? "labels" : "targets";
  const std::string prediction = reader.required_text(key);
  const std::string target = reader.required_text(target_key);
  reader.finish();
  const std::optional<Expr> p = value(built, prediction, reader.where(), findings);
  const std::optional<Expr> t = value(built, target, reader.where(), findings);
  findings.raise();
  Expr total;
  try {
    total = record->build(*p, kind, *t);
  } catch (const ir::TypeError& error) {
    findings.add("E0204", fmt::format("{} of '{}' and '{}': {}", name, prediction, target,
                                      error.what()),
                 reader.where());
    findings.raise();
  }
  for (const ParameterSpec& parameter : built.parameters) {
    const Expr w = input_of(built.graph, parameter.name, ir::InputKind::state, parameter.type);
    if (parameter.l1 > 0) total = total + ir::sum_all(ir::map("abs", w)) * parameter.l1;
    if (parameter.l2 > 0) total = total + ir::sum_all(w * w) * parameter.l2;
  }
  built.graph.add_result("loss", total.value);
  return total;
}

void Model::add_metrics(Built& built, Findings& findings, std::vector<MetricSpec>* specs) const {
  const Json* json = json_.find("metrics");
  ObjectReader reader(json, "\"metrics\"", findings);
  for (const ir::Metric& metric : ir::metrics()) {
    const Json* options = reader.raw(metric.name);
    if (!options) continue;
    const std::string name(metric.name);
    ObjectReader own(options, name, findings);
    const std::string key = own.has("logits") ? "logits"
                            : own.has("probabilities") ? "probabilities" : "predictions";
    const std::string target_key = own.has("labels") ? "labels" : "targets";
    const std::string prediction = own.required_text(key);
    const std::string target = own.required_text(target_key);
    own.finish();
    if (prediction.empty() || target.empty()) continue;
    const std::optional<Expr> p = value(built, prediction, own.where(), findings);
    const std::optional<Expr> t = value(built, target, own.where(), findings);
    if (!p || !t) continue;
    built.graph.set_provenance(provenance_of(own.where(), name, ir::Role::metric));
    try {
      const ir::Prediction kind = key == "logits" ? ir::Prediction::logit
                                                  : ir::Prediction::probability;
      built.graph.add_result(name, metric.build(*p, kind, *t).value);
    } catch (const ir::TypeError& error) {
      findings.add("E0204", fmt::format("{}: {}", name, error.what()), own.where());
    }
    if (specs) specs->push_back({name, metric.aggregation});
  }
  reader.finish();
}

Expr Model::learning_rate(Built& built, ObjectReader& reader, double fallback,
                          Findings& findings) const {
  ir::Graph& graph = built.graph;
  const Json* json = reader.raw("learning_rate");
  if (!json || !json->get<Json::Object>()) {
    return ir::constant(graph, ElementType::f64,
                        reader.number("learning_rate", fallback, {0, 1e6}));
  }
  ObjectReader options(json, "\"learning_rate\"", findings);
  Expr rate = ir::constant(graph, ElementType::f64, options.number("rate", fallback, {0, 1e6}));
  const Expr step = input_of(graph, "step", ir::InputKind::state, kCounter);
  const std::string name = options.text("schedule", "constant");
  const ir::Schedule* schedule = ir::find_schedule(name);
  if (!schedule) {
    findings.add("E0205", fmt::format("unknown schedule \"{}\"", name), options.where(),
                 suggestion(name, names_of(ir::schedules())));
    return rate;
  }
  std::vector<double> parameters;
  for (const ir::Hyperparameter& p : schedule->parameters) {
    parameters.push_back(options.number(p.name, p.default_value, {p.least, p.greatest}));
  }
  const double warm_up = options.number("warm_up", 0, {0, 1e15});
  options.finish();
  rate = schedule->build(rate, step, parameters);
  return warm_up > 0 ? ir::warm_up(rate, step, warm_up) : rate;
}

void Model::add_updates(Built& built, Expr total, Findings& findings,
                        std::vector<StateSpec>* state) const {
  ir::Graph& graph = built.graph;
  ObjectReader reader(json_.find("optimizer"), "\"optimizer\"", findings);
  graph.set_provenance(provenance_of(reader.where(), "optimizer", ir::Role::update));
  const std::string method = reader.required_text("method");
  const ir::Optimizer* optimizer = ir::find_optimizer(method);
  if (!optimizer) {
    findings.add("E0205", fmt::format("unknown optimizer \"{}\"", method), reader.where(),
                 suggestion(method, names_of(ir::optimizers())));
    findings.raise();
  }
  const Expr rate = learning_rate(built, reader, optimizer->learning_rate, findings);
  std::vector<double> hyper;
  for (const ir::Hyperparameter& p : optimizer->hyperparameters) {
    hyper.push_back(reader.number(p.name, p.default_value, {p.least, p.greatest}));
  }
  const double clip = reader.number("clip_norm", 0, {0, 1e9});
  reader.finish();
  std::vector<Expr> parameters;
  for (const ParameterSpec& spec : built.parameters) {
    parameters.push_back(input_of(graph, spec.name, ir::InputKind::state, spec.type));
  }
  std::vector<Expr> gradients = passes::gradients(total, parameters);
  graph.set_provenance(provenance_of(reader.where(), "optimizer", ir::Role::update));
  if (clip > 0 && !gradients.empty()) {
    Expr squares = ir::sum_all(gradients[0] * gradients[0]);
    for (std::size_t i = 1; i < gradients.size(); ++i) {
      squares = squares + ir::sum_all(gradients[i] * gradients[i]);
    }
    const Expr norm = ir::map("sqrt", squares);
    const Expr limit = ir::full_like(norm, clip);
    const Expr scale = limit / ir::map("max", norm, limit);
    for (Expr& gradient : gradients) gradient = gradient * scale;
  }
  const Expr step = input_of(graph, "step", ir::InputKind::state, kCounter);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const ParameterSpec& spec = built.parameters[i];
    std::vector<Expr> slots;
    for (const ir::Slot& slot : optimizer->slots) {
      const std::string name = fmt::format("{}/{}", spec.name, slot.name);
      slots.push_back(input_of(graph, name, ir::InputKind::state, spec.type));
      if (state) state->push_back({name, spec.type, StateKind::slot});
    }
    graph.set_provenance(spec.provenance.with_role(ir::Role::update));
    const ir::Update update =
        optimizer->build({parameters[i], gradients[i], slots, rate, step, hyper});
    graph.add_update(spec.name, update.parameter.value);
    for (std::size_t s = 0; s < slots.size(); ++s) {
      graph.add_update(fmt::format("{}/{}", spec.name, optimizer->slots[s].name),
                       update.slots[s].value);
    }
  }
  graph.set_provenance(provenance_of(reader.where(), "optimizer", ir::Role::update));
  graph.add_update("step", (step + 1).value);
}

ir::Graph Model::init() const {
  ir::Graph graph("init");
  const Expr seed = input_of(graph, "initial_seed", ir::InputKind::scalar, kCounter);
  const ir::Optimizer* optimizer =
      ir::find_optimizer(*json_.find("optimizer")->find("method")->get<std::string>());
  double start = 0;
  if (optimizer->initial_slot >= 0) {
    const ir::Hyperparameter& p =
        optimizer->hyperparameters[static_cast<std::size_t>(optimizer->initial_slot)];
    Findings findings;
    ObjectReader reader(json_.find("optimizer"), "\"optimizer\"", findings);
    start = reader.number(p.name, p.default_value);
  }
  for (const StateSpec& entry : state_) {
    (void)input_of(graph, entry.name, ir::InputKind::state, entry.type);
    Expr value;
    const auto parameter = std::ranges::find(parameters_, entry.name, &ParameterSpec::name);
    if (parameter != parameters_.end()) {
      graph.set_provenance(parameter->provenance);
      value = parameter->initialiser->build(seed, stream_of(entry.name), entry.type.shape,
                                            parameter->initialiser_parameters);
    } else if (entry.name == "seed") {
      value = seed;
    } else {
      value = ir::full(graph, entry.type, entry.kind == StateKind::slot ? start : 0);
    }
    graph.add_update(entry.name, value.value);
  }
  return graph;
}

ir::Graph Model::train_step(std::int64_t batch) const {
  Findings findings;
  Built built = forward("train_step", batch, true, findings);
  const Expr total = loss(built, findings);
  add_metrics(built, findings, nullptr);
  add_updates(built, total, findings, nullptr);
  return finish(std::move(built), findings);
}

ir::Graph Model::evaluate(std::int64_t batch) const {
  Findings findings;
  Built built = forward("evaluate", batch, false, findings);
  (void)loss(built, findings);
  add_metrics(built, findings, nullptr);
  return finish(std::move(built), findings);
}

ir::Graph Model::predict(std::int64_t batch) const {
  Findings findings;
  Built built = forward("predict", batch, false, findings);
  ObjectReader model(json_.find("model"), "\"model\"", findings);
  std::vector<std::string> outputs = model.names("outputs");
  if (outputs.empty()) outputs = {built.previous};
  for (const std::string& name : outputs) {
    if (const std::optional<Expr> x = value(built, name, model.where(), findings)) {
      built.graph.add_result(name, x->value);
    }
  }
  return finish(std::move(built), findings);
}

ir::Graph Model::finish(Built&& built, Findings& findings) const {
  findings.raise();
  return std::move(built.graph);
}

}  // namespace gradus::frontend
