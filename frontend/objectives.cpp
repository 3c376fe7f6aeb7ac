#include "frontend/objectives.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace gradus::frontend {
namespace {

class ObjectiveReader {
 public:
  ObjectiveReader(Names& names, Findings& findings, ModelSpec& spec)
      : names_(names), findings_(findings), spec_(spec) {}

  void read(const Objectives& sections) {
    if (sections.loss) spec_.losses.push_back(read_loss("loss", *sections.loss));
    if (sections.losses) read_losses(*sections.losses);
    if (sections.metrics) read_metrics(*sections.metrics);
    if (sections.optimizer) {
      UpdateSpec update;
      update.optimizer = read_optimizer(*sections.optimizer);
      update.where = sections.optimizer->where;
      spec_.updates.push_back(std::move(update));
    }
    if (sections.updates) read_updates(*sections.updates);
  }

 private:
  /// The one key of `keys` that is there.
  std::string one_of(ObjectReader& reader, const std::string& what,
                     const std::vector<std::string>& keys) {
    std::string found;
    for (const std::string& key : keys) {
      const Json* json = reader.raw(key);
      if (!json) continue;
      if (!found.empty()) {
        findings_.add("E0206", fmt::format("{} has both \"{}\" and \"{}\"", what, found, key),
                      json->where, "keep one of them");
      }
      found = key;
    }
    if (found.empty() && reader.is_object()) {
      std::string list = fmt::format("\"{}\"", keys.front());
      for (std::size_t i = 1; i < keys.size(); ++i) list += fmt::format(" or \"{}\"", keys[i]);
      findings_.add("E0202", fmt::format("{} needs {}", what, list), reader.where());
    }
    return found;
  }

  /// The one input or layer under `key`.
  Reference reference(ObjectReader& reader, const std::string& what, const std::string& key) {
    std::vector<Reference> list = reader.references(key);
    if (list.size() > 1) {
      findings_.add("E0203", fmt::format("\"{}\" of {} must be one name", key, what),
                    list[1].where);
    }
    if (list.empty()) return {};
    names_.resolve(list[0]);
    return list[0];
  }

  Comparison read_comparison(ObjectReader& reader, const std::string& what,
                             const std::vector<std::string>& prediction_keys, bool has_target) {
    Comparison comparison;
    comparison.where = reader.where();
    comparison.prediction_key = one_of(reader, what, prediction_keys);
    if (!comparison.prediction_key.empty()) {
      comparison.prediction = reference(reader, what, comparison.prediction_key);
    }
    if (reader.has("sample_weights")) {
      comparison.weights = reference(reader, what, "sample_weights");
    }
    if (!has_target) return comparison;
    comparison.target_key = one_of(reader, what, {"labels", "targets"});
    if (comparison.target_key.empty()) return comparison;
    const Json& target = *reader.raw(comparison.target_key);
    if (target.get<double>() || target.get<std::int64_t>()) {
      comparison.number = reader.number(comparison.target_key, 0, {});
    } else {
      comparison.target = reference(reader, what, comparison.target_key);
    }
    return comparison;
  }

  static std::vector<std::string> prediction_keys(const ir::Loss& loss) {
    if (!loss.compares) return {"values"};
    if (loss.classifies) return {"logits", "probabilities"};
    return {"predictions"};
  }

  void read_term(LossSpec& loss, const Json& json) {
    ObjectReader reader(&json, fmt::format("\"{}\"", loss.name), findings_);
    if (!reader.is_object()) return;
    const std::string name = reader.required_text("function");
    LossTerm term;
    term.record = ir::find_loss(name);
    if (!term.record) {
      if (!name.empty()) {
        findings_.add("E0205", fmt::format("unknown loss \"{}\"", name),
                      reader.raw("function")->where, suggestion(name, names_of(ir::losses())));
      }
      return;
    }
    term.comparison =
        read_comparison(reader, name, prediction_keys(*term.record), term.record->compares);
    term.weight = reader.number("weight", 1, {-1e9, 1e9});
    reader.finish();
    loss.terms.push_back(std::move(term));
  }

  /// One term, or a list of terms.
  LossSpec read_loss(const std::string& name, const Json& json) {
    LossSpec loss{name, {}, json.where};
    const Json::Array* list = json.get<Json::Array>();
    if (!list) {
      read_term(loss, json);
      return loss;
    }
    if (list->empty()) {
      findings_.add("E0203", fmt::format("\"{}\" needs at least one term", name), json.where);
    }
    for (const Json& term : *list) read_term(loss, term);
    return loss;
  }

  void read_losses(const Json& json) {
    ObjectReader reader(&json, "\"losses\"", findings_);
    if (!reader.is_object()) return;
    for (const Member& member : *json.get<Json::Object>()) {
      if (member.key == "comment") continue;
      names_.check_form(member.key, member.where);
      spec_.losses.push_back(read_loss(member.key, member.value));
    }
    if (spec_.losses.empty()) {
      findings_.add("E0203", "\"losses\" needs at least one loss", json.where);
    }
  }

  void read_metrics(const Json& json) {
    ObjectReader reader(&json, "\"metrics\"", findings_);
    if (!reader.is_object()) return;
    for (const Member& member : *json.get<Json::Object>()) {
      if (member.key == "comment") continue;
      ObjectReader own(&member.value, member.key, findings_);
      const Json* given = member.value.find("function");
      const std::string function = own.is_object() ? own.text("function", member.key) : member.key;
      const ir::Metric* record = ir::find_metric(function);
      if (!record) {
        findings_.add("E0205", fmt::format("unknown metric \"{}\"", function),
                      given ? given->where : member.where,
                      suggestion(function, names_of(ir::metrics())));
        continue;
      }
      if (!own.is_object()) continue;
      own.point_at(member.where);
      if (std::ranges::find(spec_.losses, member.key, &LossSpec::name) != spec_.losses.end()) {
        findings_.add("E0208", fmt::format("\"{}\" is a loss already", member.key), member.where,
                      "write { \"function\": ... } under another name");
      }
      MetricSpec metric{member.key, record->aggregation, record, {}};
      metric.comparison =
          read_comparison(own, member.key, {"logits", "probabilities", "predictions"}, true);
      own.finish();
      spec_.metrics.push_back(std::move(metric));
    }
  }

  OptimizerSpec read_optimizer(const Json& json) {
    OptimizerSpec optimizer;
    ObjectReader reader(&json, "\"optimizer\"", findings_);
    if (!reader.is_object()) return optimizer;
    optimizer.where = reader.where();
    Choice choice = reader.alternative("method", "optimizer", optimizer_alternatives());
    optimizer.method = ir::find_optimizer(choice.name);
    optimizer.settings = std::move(choice.settings);
    reader.finish();
    return optimizer;
  }

  void read_updates(const Json& json) {
    const Json::Array* list = json.get<Json::Array>();
    if (!list || list->empty()) {
      findings_.add("E0203",
                    fmt::format("\"updates\" must be a list of updates, found {}",
                                list ? "an empty one" : json.describe()),
                    json.where);
      return;
    }
    for (const Json& update : *list) read_update(update);
    std::set<std::size_t> minimized;
    for (const UpdateSpec& update : spec_.updates) minimized.insert(update.loss);
    if (minimized.contains(spec_.losses.size())) return;  // a misspelled one
    for (std::size_t loss = 0; loss < spec_.losses.size(); ++loss) {
      if (minimized.contains(loss)) continue;
      findings_.add("E0213",
                    fmt::format("no update minimizes the loss \"{}\"", spec_.losses[loss].name),
                    spec_.losses[loss].where, "what is only watched is a metric");
    }
  }

  void read_update(const Json& json) {
    ObjectReader reader(&json, "an update", findings_);
    if (!reader.is_object()) return;
    UpdateSpec update;
    update.where = json.where;
    const std::string name = reader.required_text("minimize");
    const auto loss = std::ranges::find(spec_.losses, name, &LossSpec::name);
    if (loss == spec_.losses.end() && !name.empty()) {
      findings_.add("E0213", fmt::format("there is no loss \"{}\"", name),
                    reader.raw("minimize")->where, suggestion(name, names_of(spec_.losses)));
    }
    update.loss = static_cast<std::size_t>(loss - spec_.losses.begin());
    update.of = reader.references("of");
    if (const Json* optimizer = reader.required("optimizer")) {
      update.optimizer = read_optimizer(*optimizer);
    }
    const Option repeat = integer_option("repeat", std::int64_t{1}, "", {1, 1000});
    update.repeat = reader.settings({&repeat, 1}).integer("repeat");
    reader.finish();
    spec_.updates.push_back(std::move(update));
  }

  Names& names_;
  Findings& findings_;
  ModelSpec& spec_;
};

}  // namespace

ir::Prediction Comparison::kind() const {
  if (prediction_key == "logits") return ir::Prediction::logit;
  return prediction_key == "probabilities" ? ir::Prediction::probability : ir::Prediction::value;
}

bool UpdateSpec::names(const std::string& parameter) const {
  return of.empty() || std::ranges::any_of(of, [&](const Reference& reference) {
           return parameter.starts_with(reference.name + "/");
         });
}

std::int64_t ModelSpec::parts() const {
  std::int64_t parts = 1;
  for (const UpdateSpec& update : updates) parts = std::max(parts, update.repeat);
  return parts;
}

Objectives find_objectives(ObjectReader& top, Findings& findings) {
  Objectives found;
  found.metrics = top.raw("metrics");
  if (!top.has("losses") && !top.has("updates")) {
    found.loss = top.required("loss");
    found.optimizer = top.required("optimizer");
    return found;
  }
  found.losses = top.required("losses");
  found.updates = top.required("updates");
  for (const char* single : {"loss", "optimizer"}) {
    const Json* json = top.raw(single);
    if (!json) continue;
    findings.add("E0206", fmt::format("\"{}\" stands beside \"losses\" and \"updates\"", single),
                 json->where,
                 "a file has \"loss\" and \"optimizer\", or \"losses\" and \"updates\"");
  }
  return found;
}

void read_objectives(const Objectives& sections, Names& names, Findings& findings,
                     ModelSpec& spec) {
  ObjectiveReader(names, findings, spec).read(sections);
}

}  // namespace gradus::frontend
