#include "tools/initial_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/diagnostic.h"
#include "runtime/checkpoint.h"

namespace gradus::tools {
namespace {

std::string describe(const runtime::Vocabulary& vocabulary) {
  if (vocabulary.tokens == "bytes") return "a text in bytes";
  return fmt::format("a text of {} characters", vocabulary.characters.size());
}

/// Which layers have parameters, and whose.
class Parameters {
 public:
  explicit Parameters(const frontend::Model& model) {
    for (const frontend::ParameterSpec& parameter : model.parameters()) {
      owners_.insert(parameter.name.substr(0, parameter.name.rfind('/')));
    }
  }

  /// The owners of a layer's parameters: itself, the one that it is tied to, or none.
  [[nodiscard]] std::vector<std::string> of(const frontend::LayerSpec& layer) const {
    std::vector<std::string> owners;
    if (owners_.contains(layer.owner)) owners.push_back(layer.owner);
    if (layer.settings.find("tied_to") && !layer.settings.text("tied_to").empty()) {
      owners.push_back(layer.settings.text("tied_to"));
    }
    return owners;
  }

 private:
  std::set<std::string> owners_;
};

/// The owners of parameters that depend on which token has which number: of the first ones on the
/// way from the inputs, which all are tokens, and of the last ones on the way to what a loss
/// compares with tokens.
std::set<std::string> owners_by_token(const frontend::Model& model) {
  const frontend::ModelSpec& spec = model.spec();
  const Parameters parameters(model);
  std::set<std::string> owners;
  std::set<std::string> tokens;  // values
  for (const frontend::ModelInput& input : spec.inputs) tokens.insert(input.name);
  for (const frontend::LayerSpec& layer : spec.layers) {
    const auto reads = [&](const frontend::Reference& from) { return tokens.contains(from.name); };
    if (std::ranges::none_of(layer.from, reads)) continue;
    const std::vector<std::string> own = parameters.of(layer);
    owners.insert(own.begin(), own.end());
    if (own.empty()) tokens.insert(layer.name);
  }
  std::set<std::string> told;  // values
  for (const frontend::LossSpec& loss : spec.losses) {
    for (const frontend::LossTerm& term : loss.terms) {
      const frontend::Comparison& comparison = term.comparison;
      if (tokens.contains(comparison.target.name)) told.insert(comparison.prediction.name);
    }
  }
  for (std::size_t i = spec.layers.size(); i-- > 0;) {
    const frontend::LayerSpec& layer = spec.layers[i];
    if (!told.contains(layer.name)) continue;
    const std::vector<std::string> own = parameters.of(layer);
    owners.insert(own.begin(), own.end());
    if (!own.empty()) continue;
    for (const frontend::Reference& from : layer.from) told.insert(from.name);
  }
  return owners;
}

bool stands_below(const std::string& name, const std::string& above) {
  return name.starts_with(above + "/");
}

/// Names above parameters: "decoder" and "decoder/1" for "decoder/1/kernel".
std::vector<std::string> names_above(const frontend::Model& model) {
  std::set<std::string> names;
  for (const frontend::ParameterSpec& parameter : model.parameters()) {
    for (std::size_t at = parameter.name.find('/'); at != std::string::npos;
         at = parameter.name.find('/', at + 1)) {
      names.insert(parameter.name.substr(0, at));
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace

void check_vocabulary(const std::string& weights, const runtime::Vocabulary& data) {
  const runtime::Vocabulary saved = runtime::saved_vocabulary(weights);
  if (saved.tokens.empty() || data.tokens.empty() || saved == data) return;
  const bool same_text = describe(saved) == describe(data);
  throw UserError("E1005",
                  fmt::format("the weights are for {}, the data are {}", describe(saved),
                              same_text ? "one of other characters" : describe(data)),
                  {weights}, "a text's tokens are bytes, or numbers of its own characters");
}

void check_initial_weights(const frontend::Model& model, const std::string& weights,
                           std::span<const std::string> of, const runtime::Vocabulary& data) {
  const std::vector<std::string> known = names_above(model);
  for (const std::string& name : of) {
    if (std::ranges::find(known, name) != known.end()) continue;
    throw UserError("E1005", fmt::format("the model has no parameter below '{}'", name), {},
                    frontend::suggestion(name, known));
  }
  const std::set<std::string> owners = owners_by_token(model);
  const bool depends = of.empty() || std::ranges::any_of(of, [&](const std::string& above) {
                         return std::ranges::any_of(owners, [&](const std::string& owner) {
                           return stands_below(owner + "/", above);
                         });
                       });
  if (depends) check_vocabulary(weights, data);
}

}  // namespace gradus::tools
