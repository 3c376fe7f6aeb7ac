#include "frontend/blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "frontend/expression.h"

namespace gradus::frontend {
namespace {

constexpr std::int64_t kGreatestRepeat = 10'000;
constexpr std::size_t kMostLayers = 100'000;

struct Block {
  const Json* json = nullptr;
  Parameters defaults;
  const Json::Array* layers = nullptr;
};

/// What the layers of one list see.
struct Scope {
  std::string prefix;  // "stage1/2/"
  Parameters parameters;
  std::vector<std::string> input;            // what the instance reads; none at the top
  std::map<std::string, std::string> names;  // of this list -> of the whole model
  std::map<std::string, int> unnamed;        // by kind
  BlockUses uses;
};

class Expander {
 public:
  Expander(const Json* blocks, Findings& findings) : findings_(findings) {
    if (blocks) read_blocks(*blocks);
  }

  std::vector<ExpandedLayer> run(const Json::Array& layers, const std::string& first_input) {
    Scope top;
    if (!first_input.empty()) top.input = {first_input};
    expand(layers, top);
    if (failed_) findings_.raise();  // a value that is not there would be reported again
    return std::move(result_);
  }

 private:
  void read_blocks(const Json& json) {
    ObjectReader reader(&json, "\"blocks\"", findings_);
    if (!reader.is_object()) return;
    for (const Member& member : *json.get<Json::Object>()) {
      if (member.key == "comment") continue;
      ObjectReader own(&member.value, fmt::format("block \"{}\"", member.key), findings_);
      if (!own.is_object()) continue;
      Block block{&member.value, {}, nullptr};
      if (const Json* parameters = own.raw("parameters")) {
        ObjectReader all(parameters, "\"parameters\"", findings_);
        if (all.is_object()) {
          for (const Member& parameter : *parameters->get<Json::Object>()) {
            if (parameter.key != "comment") block.defaults[parameter.key] = parameter.value;
          }
        }
      }
      const Json* layers = own.required("layers");
      own.finish();
      if (layers) block.layers = layers->get<Json::Array>();
      if (layers && (!block.layers || block.layers->empty())) {
        findings_.add("E0210", fmt::format("block \"{}\" needs a list of layers", member.key),
                      layers->where);
        continue;
      }
      if (layers) blocks_[member.key] = block;
    }
  }

  /// Returns the full name of the list's last layer.
  std::optional<std::string> expand(const Json::Array& layers, Scope& scope) {
    const BlockScope found(findings_, scope.uses);
    std::optional<std::string> last;
    for (const Json& item : layers) {
      if (result_.size() >= kMostLayers) return last;
      const Json* block = item.find("block");
      const std::optional<std::string> name =
          block ? instance(item, *block, scope, last) : layer(item, scope, last);
      if (name) last = name;
    }
    return last;
  }

  // --- Layers ---

  /// Returns the layer's full name.
  std::string layer(const Json& item, Scope& scope, const std::optional<std::string>& previous) {
    Json json = substitute(item, scope);
    const Json* name = json.find("name");
    const std::string* given = name ? name->get<std::string>() : nullptr;
    const bool named = given && !given->empty();
    const Json* kind = json.find("layer") ? json.find("layer") : json.find("op");
    const std::string* text = kind ? kind->get<std::string>() : nullptr;
    const std::string own = named ? *given : numbered(scope, text ? *text : "");
    const std::string full = scope.prefix + own;
    if (auto* object = std::get_if<Json::Object>(&json.value)) {
      resolve_from(*object, scope);
      const bool reads_input = !scope.prefix.empty() && !previous && !json.find("from");
      if (reads_input && !scope.input.empty()) write_from(*object, scope.input, json.where);
    }
    if (named) scope.names[own] = full;
    result_.push_back({std::move(json), full, named, scope.uses});
    return full;
  }

  static std::string numbered(Scope& scope, const std::string& kind) {
    const int number = scope.unnamed[kind]++;
    return number == 0 ? kind : fmt::format("{}_{}", kind, number);
  }

  static void write_from(Json::Object& object, const std::vector<std::string>& names,
                         const SourceLocation& where) {
    Json::Array list;
    for (const std::string& name : names) list.push_back({name, where});
    object.push_back({"from", where, {std::move(list), where}});
  }

  /// "from" of a layer in terms of the whole model.
  void resolve_from(Json::Object& object, const Scope& scope) const {
    for (Member& member : object) {
      if (member.key != "from") continue;
      Json::Array resolved;
      const auto add = [&](const Json& one) {
        const std::string* text = one.get<std::string>();
        if (!text) {
          resolved.push_back(one);
          return;
        }
        for (const std::string& name : resolve(*text, scope)) {
          resolved.push_back({name, one.where});
        }
      };
      if (const auto* list = member.value.get<Json::Array>()) {
        for (const Json& one : *list) add(one);
        member.value.value = std::move(resolved);
      } else if (member.value.get<std::string>()) {
        add(member.value);
        member.value.value = std::move(resolved);
      }
    }
  }
  /// A name that is not of this list stays as it is at the top, and is none of the model's inside.
  std::vector<std::string> resolve(const std::string& name, const Scope& scope) const {
    const auto known = scope.names.find(name);
    if (known != scope.names.end()) return {known->second};
    if (scope.prefix.empty()) return {name};
    if (name == "input") return scope.input;
    return {scope.prefix + name};
  }

  // --- Blocks ---

  std::optional<std::string> instance(const Json& item, const Json& block_name, Scope& outer,
                                      const std::optional<std::string>& previous) {
    const std::string* kind = block_name.get<std::string>();
    const auto block = kind ? blocks_.find(*kind) : blocks_.end();
    if (block == blocks_.end()) {
      std::vector<std::string> known;
      for (const auto& [name, other] : blocks_) known.push_back(name);
      findings_.add("E0210",
                    kind ? fmt::format("unknown block \"{}\"", *kind)
                         : fmt::format("\"block\" must be a name, found {}", block_name.describe()),
                    block_name.where, kind ? suggestion(*kind, known) : "");
      return std::nullopt;
    }
    if (std::ranges::find(open_, *kind) != open_.end()) {
      findings_.add("E0210", fmt::format("block \"{}\" stands inside itself", *kind),
                    block_name.where);
      return std::nullopt;
    }
    const Json json = substitute(item, outer);
    ObjectReader reader(&json, fmt::format("block \"{}\"", *kind), findings_);
    reader.point_at(block_name.where);
    (void)reader.raw("block");
    const std::string own = reader.text("name", numbered(outer, *kind));
    std::vector<std::string> input;
    for (const Reference& reference : reader.references("from")) {
      for (const std::string& name : resolve(reference.name, outer)) input.push_back(name);
    }
    const Option repeat =
        integer_option("repeat", std::int64_t{1}, "", {1, static_cast<double>(kGreatestRepeat)});
    const std::int64_t times = reader.settings({&repeat, 1}).integer("repeat");
    Parameters parameters = block->second.defaults;
    for (auto& [name, value] : parameters) {
      if (const Json* given = reader.raw(name)) value = *given;
    }
    reader.finish();
    if (input.empty() && previous) input = {*previous};
    if (input.empty()) input = outer.input;
    std::optional<std::string> result;
    open_.push_back(*kind);
    for (std::int64_t i = 1; i <= times; ++i) {
      const std::string path = outer.prefix + (times == 1 ? own : fmt::format("{}/{}", own, i));
      Scope scope{path + "/", parameters, result ? std::vector{*result} : input,
                  {},         {},         outer.uses};
      scope.uses.push_back(block_name.where);
      result = expand(*block->second.layers, scope);
      if (!result) break;
      outer.names[times == 1 ? own : fmt::format("{}/{}", own, i)] = *result;
    }
    open_.pop_back();
    if (result) outer.names[own] = *result;
    return result;
  }

  // --- Expressions ---

  /// The value with every text "=..." in it evaluated.
  Json substitute(const Json& json, const Scope& scope) {
    if (const std::string* text = json.get<std::string>(); text && text->starts_with('=')) {
      try {
        return evaluate_expression(std::string_view(*text).substr(1), scope.parameters, json.where);
      } catch (const ExpressionError& error) {
        failed_ = true;
        findings_.add("E0211", fmt::format("\"{}\": {}", *text, error.what()), json.where);
        return json;
      }
    }
    Json result = json;
    if (auto* list = std::get_if<Json::Array>(&result.value)) {
      for (Json& element : *list) element = substitute(element, scope);
    } else if (auto* object = std::get_if<Json::Object>(&result.value)) {
      for (Member& member : *object) {
        if (member.key != "comment") member.value = substitute(member.value, scope);
      }
    }
    return result;
  }

  Findings& findings_;
  std::map<std::string, Block> blocks_;
  std::vector<std::string> open_;  // blocks being expanded
  bool failed_ = false;            // some expression
  std::vector<ExpandedLayer> result_;
};

}  // namespace

std::vector<ExpandedLayer> expand_blocks(const Json::Array& layers, const Json* blocks,
                                         const std::string& first_input, Findings& findings) {
  return Expander(blocks, findings).run(layers, first_input);
}

}  // namespace gradus::frontend
