#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/overloaded.h"
#include "frontend/blocks.h"
#include "frontend/names.h"
#include "frontend/objectives.h"
#include "frontend/spec.h"

namespace gradus::frontend {
namespace {

class SpecReader {
 public:
  explicit SpecReader(const Json& json) : json_(json) { spec_.file = json.where.file; }

  ModelSpec read() {
    ObjectReader top(&json_, "the model file", findings_);
    if (top.is_object()) read_version(top);
    spec_.name = top.text("name", "model");
    const Json* data = top.required("data");
    const Json* model = top.required("model");
    const Objectives objectives = find_objectives(top, findings_);
    const Json* training = top.required("training");
    top.finish();
    if (data) read_data(*data);
    if (model) read_model(*model);
    read_objectives(objectives, names_, findings_, spec_);
    if (training) read_training(*training);
    findings_.raise();
    for (const LayerSpec& layer : spec_.layers) check_stateful(layer);
    findings_.raise();
    return std::move(spec_);
  }

 private:
  void read_version(ObjectReader& top) {
    const Json* version = top.raw("gradus");
    if (!version) {
      findings_.add("E0202", "the model file needs the version of its language", json_.where,
                    "write \"gradus\": 1 first");
    } else if (const auto* number = version->get<std::int64_t>(); !number || *number != 1) {
      findings_.add("E0203",
                    fmt::format("this program reads version 1 of the language, found {}",
                                version->describe()),
                    version->where);
    }
  }

  void read_data(const Json& json) {
    ObjectReader reader(&json, "\"data\"", findings_);
    if (!reader.is_object()) return;
    spec_.data.where = reader.where();
    const Settings settings = reader.settings(data_options());
    spec_.data.validation = settings.number("validation");
    spec_.data.contiguous = settings.boolean("contiguous");
    const Setting& shuffle = *settings.find("shuffle");
    spec_.data.shuffle = settings.boolean("shuffle") && !spec_.data.contiguous;
    if (shuffle.given && settings.boolean("shuffle") && spec_.data.contiguous) {
      findings_.add("E0206", "\"contiguous\" data have an order, which \"shuffle\" would change",
                    shuffle.where, "remove one of the two");
    }
    const Choice source = reader.alternative("source", "data source", data_sources());
    spec_.data.source = source.name;
    for (const Setting& setting : source.settings.entries()) {
      std::visit(overloaded{[&](double value) { spec_.data.numbers[setting.name] = value; },
                            [&](std::int64_t value) {
                              spec_.data.numbers[setting.name] = static_cast<double>(value);
                            },
                            [&](const std::string& text) { spec_.data.texts[setting.name] = text; },
                            [&](const Choice& one) { spec_.data.texts[setting.name] = one.name; },
                            [](const auto&) { throw InternalError("a kind of data option"); }},
                 setting.value);
    }
    reader.finish();
    check_contiguous(source);
  }

  /// Of a text, example i + 1 must begin where example i ends.
  void check_contiguous(const Choice& source) {
    if (!spec_.data.contiguous || !spec_.data.numbers.contains("stride")) return;
    const double stride = spec_.data.numbers.at("stride");
    if (stride == 0 || stride == spec_.data.numbers.at("length")) return;
    findings_.add(
        "E0206",
        fmt::format("\"contiguous\" examples begin where those before end, but \"stride\" "
                    "is {} and \"length\" {}",
                    stride, spec_.data.numbers.at("length")),
        source.settings.find("stride")->where, "remove \"stride\"");
  }

  /// Batches follow one another, example by example.
  void check_stateful(const LayerSpec& layer) {
    const Setting* stateful = layer.settings.find("stateful");
    if (!stateful || !layer.settings.boolean("stateful")) return;
    const BlockScope found(findings_, layer.uses);
    const auto report = [&](const char* message, const char* hint) {
      findings_.add("E0206", fmt::format("{} is stateful, {}", layer.kind, message),
                    stateful->where, hint);
    };
    if (layer.time_distributed) {
      report("but time_distributed", "its times are examples, which follow no batch before");
    }
    if (spec_.data.shuffle) {
      report("but the data are shuffled", "add \"contiguous\": true to \"data\"");
    }
    if (spec_.training.batch == 0) {
      report("but a batch has no fixed size", "\"batch\" of \"training\" must be a number");
    }
    if (spec_.updates.size() > 1 || spec_.parts() > 1) {
      report("but a training step runs it several times", "");
    }
  }

  void read_model(const Json& json) {
    ObjectReader reader(&json, "\"model\"", findings_);
    if (const Json* inputs = reader.required("inputs")) read_inputs(*inputs);
    const Json* blocks = reader.raw("blocks");
    const Json* modules = reader.raw("modules");
    const Json* layers = reader.required("layers");
    spec_.outputs = reader.references("outputs");
    reader.finish();
    if (layers) read_layers(*layers, blocks, modules);
    if (spec_.outputs.empty() && !spec_.layers.empty()) {
      spec_.outputs = {{spec_.layers.back().name, spec_.layers.back().where}};
    }
    std::set<std::string> outputs;
    for (Reference& output : spec_.outputs) {
      names_.resolve(output);
      if (outputs.insert(output.name).second) continue;
      findings_.add("E0208", fmt::format("\"{}\" is an output already", output.name), output.where);
    }
  }

  void read_inputs(const Json& json) {
    ObjectReader reader(&json, "\"inputs\"", findings_);
    if (!reader.is_object()) return;
    for (const Member& member : *json.get<Json::Object>()) {
      if (member.key == "comment") continue;
      (void)reader.raw(member.key);
      const std::string* text = member.value.get<std::string>();
      const std::optional<TensorType> type = text ? parse_tensor_type(*text) : std::nullopt;
      names_.declare(member.key, member.where);
      if (!type || std::ranges::find(type->shape, 0) != type->shape.end()) {
        findings_.add("E0203",
                      fmt::format("input \"{}\" must be the type of one example, such as "
                                  "\"f32[28,28]\" or \"i32[]\", found {}",
                                  member.key, member.value.describe()),
                      member.value.where);
        continue;
      }
      spec_.inputs.push_back({member.key, *type, member.value.where});
    }
  }

  void read_layers(const Json& json, const Json* blocks, const Json* modules) {
    const Json::Array* list = json.get<Json::Array>();
    if (!list || list->empty()) {
      findings_.add("E0203",
                    fmt::format("\"layers\" must be a list of layers, found {}",
                                list ? "an empty one" : json.describe()),
                    json.where);
      return;
    }
    const std::string first_input = spec_.inputs.size() == 1 ? spec_.inputs[0].name : "";
    const ExpandedModel expanded = expand_blocks(*list, blocks, modules, first_input, findings_);
    for (const auto& [name, last] : expanded.uses) names_.stand_for(name, last);
    for (const ExpandedLayer& layer : expanded.layers) {
      if (layer.named) names_.announce(layer.name, layer.json.find("name")->where);
    }
    for (const ExpandedLayer& layer : expanded.layers) read_layer(layer);
  }

  void read_layer(const ExpandedLayer& expanded) {
    const Json& json = expanded.json;
    const BlockScope found(findings_, expanded.uses);
    ObjectReader reader(&json, "a layer", findings_);
    if (!reader.is_object()) return;
    LayerSpec layer;
    layer.uses = expanded.uses;
    const std::string key = json.find("op") && !json.find("layer") ? "op" : "layer";
    layer.kind = reader.required_text(key);
    if (const Json* kind = reader.raw(key))
      layer.where = kind->where;
    else
      layer.where = json.where;
    ObjectReader own(&json, layer.kind.empty() ? "a layer" : layer.kind, findings_);
    own.point_at(layer.where);
    (void)own.raw(key);
    const Json* name = own.raw("name");
    name_layer(layer, name, expanded);
    layer.from = own.references("from");
    name_parameters(layer, own, expanded);
    const Option distributed = boolean_option("time_distributed", expanded.time_distributed, "");
    layer.time_distributed = own.settings({&distributed, 1}).boolean("time_distributed");
    if (layer.kind.empty())
      own.abandon();
    else if (key == "op")
      read_op(layer, own);
    else
      read_kind(layer, own);
    own.finish();
    connect(layer);
    const bool known = layer.layer || layer.op;
    if (layer.named || known) names_.declare(layer.name, layer.named ? name->where : layer.where);
    previous_ = layer.name;
    spec_.layers.push_back(std::move(layer));
  }

  void name_layer(LayerSpec& layer, const Json* name, const ExpandedLayer& expanded) {
    if (name && !expanded.named) {
      findings_.add(
          "E0203",
          fmt::format("\"name\" of {} must be a text, found {}", layer.kind, name->describe()),
          name->where);
    }
    layer.name = expanded.name;
    layer.named = expanded.named;
  }

  /// Modules share parameters, and so do layers that say so.
  void name_parameters(LayerSpec& layer, ObjectReader& own, const ExpandedLayer& expanded) {
    layer.owner = expanded.owner;
    layer.shared = expanded.shared;
    if (!own.has("parameters_of")) return;
    layer.owner = own.text("parameters_of", layer.owner);
    layer.shared = true;
    names_.check_form(layer.owner, own.raw("parameters_of")->where);
  }

  void read_kind(LayerSpec& layer, ObjectReader& own) {
    layer.layer = find_layer(layer.kind);
    if (layer.layer) {
      layer.settings = own.settings(layer.layer->options);
      return;
    }
    std::string hint = suggestion(layer.kind, names_of(layers()));
    // What other libraries have as layers around a layer is a key of the layer itself.
    if (layer.kind == "bidirectional") {
      hint = "write \"direction\": \"both\" in the recurrent layer";
    }
    if (layer.kind == "time_distributed") hint = "write \"time_distributed\": true in the layer";
    if (ir::find_op(layer.kind)) hint = fmt::format("write {{ \"op\": \"{}\" }}", layer.kind);
    findings_.add("E0205", fmt::format("unknown layer \"{}\"", layer.kind), layer.where, hint);
    own.abandon();
  }

  void read_op(LayerSpec& layer, ObjectReader& own) {
    layer.op = ir::find_op(layer.kind);
    const bool is_input =
        layer.op && std::holds_alternative<ir::InputComputation>(layer.op->compute);
    const bool is_loop = layer.op && std::holds_alternative<ir::ScanComputation>(layer.op->compute);
    if (layer.op && !is_input && !is_loop) {
      layer.settings = own.settings(op_options(*layer.op));
      return;
    }
    std::string hint = suggestion(layer.kind, names_of(ir::op_records()));
    if (find_layer(layer.kind)) hint = fmt::format("write {{ \"layer\": \"{}\" }}", layer.kind);
    if (is_input) hint = "inputs stand in \"inputs\"";
    if (is_loop) hint = "loops are layers of their own, such as \"lstm\"";
    findings_.add("E0205", fmt::format("unknown op \"{}\"", layer.kind), layer.where, hint);
    own.abandon();
  }

  /// What the layer reads: as it says, or the layer before it, or the only input.
  void connect(LayerSpec& layer) {
    const bool reads = layer.op ? layer.op->most_operands != 0
                                : layer.layer != nullptr && layer.layer->most_inputs != 0;
    if (layer.from.empty() && reads) {
      if (previous_) {
        layer.from = {{*previous_, layer.where}};
      } else if (spec_.inputs.size() == 1) {
        layer.from = {{spec_.inputs.front().name, layer.where}};
      } else if (!spec_.inputs.empty()) {
        findings_.add("E0202", fmt::format("{} is the first layer and needs \"from\"", layer.kind),
                      layer.where,
                      fmt::format("write \"from\": \"{}\"", spec_.inputs.front().name));
      }
      return;
    }
    for (Reference& reference : layer.from) names_.resolve(reference);
  }

  void read_training(const Json& json) {
    ObjectReader reader(&json, "\"training\"", findings_);
    if (!reader.is_object()) return;
    const Json* epochs = reader.raw("epochs");
    const Json* steps = reader.raw("steps");
    if (!epochs == !steps) {
      findings_.add(
          "E0206",
          fmt::format("\"training\" needs \"epochs\" or \"steps\"{}", epochs ? ", not both" : ""),
          epochs ? steps->where : reader.where(),
          epochs ? "remove one; on the command line: --set training.epochs=null" : "");
    }
    std::vector<Option> options;
    if (epochs) options.push_back(integer_option("epochs", std::int64_t{1}, "", {1, kWhole}));
    if (steps) options.push_back(integer_option("steps", std::int64_t{1}, "", {1, kWhole}));
    options.push_back(integer_option("seed", std::int64_t{1}, "", {0, 0x1p53}));
    const Json* batch = reader.raw("batch");
    const std::string* word = batch ? batch->get<std::string>() : nullptr;
    const bool full = word && *word == "full";
    if (word && !full) {
      findings_.add("E0203",
                    fmt::format("\"batch\" of \"training\" must be a number or \"full\", found {}",
                                batch->describe()),
                    batch->where);
    }
    if (!word) options.push_back(integer_option("batch", std::int64_t{32}, "", {1, kWhole}));
    const Settings settings = reader.settings(options);
    if (epochs) spec_.training.epochs = settings.integer("epochs");
    if (steps) spec_.training.steps = settings.integer("steps");
    spec_.training.seed = static_cast<std::uint64_t>(settings.integer("seed"));
    spec_.training.batch = word ? 0 : settings.integer("batch");
    reader.finish();
  }

  const Json& json_;
  Findings findings_;
  ModelSpec spec_;
  Names names_{findings_};
  std::optional<std::string> previous_;  // the layer before
};

}  // namespace

ModelSpec read_spec(const Json& json) { return SpecReader(json).read(); }

}  // namespace gradus::frontend
