#include "frontend/blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "frontend/expression.h"

namespace gradus::frontend {
namespace {

constexpr std::int64_t kGreatestRepeat = 10'000;
constexpr std::size_t kMostLayers = 100'000;
constexpr const char* kInput = "input";  // in a block: what the use's "from" names

/// What can be defined once and used by name.
struct Kind {
  std::string_view name;     // the key of a use
  std::string_view section;  // of the definitions
  std::string_view code;     // of what is wrong with them
  bool shares;               // one set of parameters for all uses
};
constexpr Kind kBlock{"block", "blocks", "E0210", false};
constexpr Kind kModule{"module", "modules", "E0212", true};

struct Definition {
  const Kind* kind = nullptr;
  Parameters defaults;
  std::vector<Reference> inputs;  // what its layers read beside "input"
  const Json::Array* layers = nullptr;
};
using Definitions = std::map<std::string, Definition>;

/// What stands under a name of an instance's inputs: values of the whole model, and where they are
/// named.
using Inputs = std::map<std::string, std::vector<Reference>>;

/// Whether some value in the definition is that text: a name in a "from", or in a use's inputs.
bool mentions(const Json& json, const std::string& text) {
  const std::string* own = json.get<std::string>();
  if (own) return *own == text;
  const auto in = [&](const Json& part) { return mentions(part, text); };
  if (const auto* list = json.get<Json::Array>()) return std::ranges::any_of(*list, in);
  const auto* object = json.get<Json::Object>();
  return object && std::ranges::any_of(*object, [&](const Member& member) {
           return member.key != "comment" && member.key != "name" && in(member.value);
         });
}

/// What the layers of one list see.
struct Scope {
  std::string prefix;  // "stage1/2/"
  std::string owner;   // the prefix of parameters
  bool shared = false;
  bool time_distributed = false;
  Parameters parameters;
  Inputs inputs;                             // of the instance; of the model at the top
  std::map<std::string, std::string> names;  // of this list -> of the whole model
  std::map<std::string, int> unnamed;        // by kind
  BlockUses uses;
  const Scope* outer = nullptr;               // of the use; null at the top
  std::map<std::string, std::string> owners;  // "inner/table" -> of its parameters
};

class Expander {
 public:
  Expander(const Json* blocks, const Json* modules, Findings& findings) : findings_(findings) {
    if (blocks) read_definitions(*blocks, kBlock);
    if (modules) read_definitions(*modules, kModule);
  }

  ExpandedModel run(const Json::Array& layers, const std::string& first_input) {
    Scope top;
    if (!first_input.empty()) top.inputs[kInput] = {{first_input, {}}};
    expand(layers, top);
    if (failed_) findings_.raise();  // a value that is not there would be reported again
    std::erase_if(top.names, [](const auto& name) { return name.first == name.second; });
    return {std::move(result_), std::move(top.names)};
  }

 private:
  void read_definitions(const Json& json, const Kind& kind) {
    ObjectReader reader(&json, fmt::format("\"{}\"", kind.section), findings_);
    if (!reader.is_object()) return;
    for (const Member& member : *json.get<Json::Object>()) {
      if (member.key == "comment") continue;
      ObjectReader own(&member.value, fmt::format("{} \"{}\"", kind.name, member.key), findings_);
      if (!own.is_object()) continue;
      Definition definition{&kind, {}, {}, nullptr};
      if (!kind.shares) read_defaults(own, definition);
      read_inputs(own, member.key, definition);
      const Json* layers = own.required("layers");
      own.finish();
      if (layers) definition.layers = layers->get<Json::Array>();
      if (layers && (!definition.layers || definition.layers->empty())) {
        findings_.add(std::string(kind.code),
                      fmt::format("{} \"{}\" needs a list of layers", kind.name, member.key),
                      layers->where);
        continue;
      }
      if (!layers) continue;
      for (const Reference& input : definition.inputs) {
        if (mentions(*layers, input.name)) continue;
        findings_.add(std::string(kind.code),
                      fmt::format("no layer of {} \"{}\" reads its input \"{}\"", kind.name,
                                  member.key, input.name),
                      input.where);
      }
      definitions_[kind.name][member.key] = definition;
    }
  }

  void read_defaults(ObjectReader& own, Definition& definition) {
    const Json* parameters = own.raw("parameters");
    if (!parameters) return;
    ObjectReader all(parameters, "\"parameters\"", findings_);
    if (!all.is_object()) return;
    for (const Member& parameter : *parameters->get<Json::Object>()) {
      if (parameter.key == "comment") continue;
      definition.defaults[parameter.key] = parameter.value;
      if (!keys_of_use(*definition.kind).contains(parameter.key)) continue;
      findings_.add(std::string(definition.kind->code),
                    fmt::format("a parameter cannot be \"{}\": a use has another key of that name",
                                parameter.key),
                    parameter.where);
    }
  }

  /// What a use says of itself.
  static std::set<std::string, std::less<>> keys_of_use(const Kind& kind) {
    return {std::string(kind.name), "name", "from", "repeat", "time_distributed", "comment"};
  }

  /// "inputs": names that a use has as keys.
  void read_inputs(ObjectReader& own, const std::string& name, Definition& definition) {
    std::set<std::string, std::less<>> taken = keys_of_use(*definition.kind);
    taken.insert(kInput);
    for (const auto& [parameter, value] : definition.defaults) taken.insert(parameter);
    for (const Reference& input : own.references("inputs")) {
      if (taken.insert(input.name).second) {
        definition.inputs.push_back(input);
        continue;
      }
      findings_.add(std::string(definition.kind->code),
                    fmt::format("an input of {} \"{}\" cannot be \"{}\": a use has another key of "
                                "that name",
                                definition.kind->name, name, input.name),
                    input.where);
    }
  }

  /// Returns the full name of the list's last layer.
  std::optional<std::string> expand(const Json::Array& layers, Scope& scope) {
    const BlockScope found(findings_, scope.uses);
    std::optional<std::string> last;
    for (const Json& item : layers) {
      if (result_.size() >= kMostLayers) return last;
      const Kind* kind = item.find("block") ? &kBlock : item.find("module") ? &kModule : nullptr;
      const std::optional<std::string> name =
          kind ? instance(item, *kind, scope, last) : layer(item, scope, last);
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
    const SourceLocation where = named ? name->where : json.where;
    const Json* kind = json.find("layer") ? json.find("layer") : json.find("op");
    const std::string* text = kind ? kind->get<std::string>() : nullptr;
    const std::string own = named ? *given : numbered(scope, text ? *text : "");
    const std::string full = scope.prefix + own;
    if (auto* object = std::get_if<Json::Object>(&json.value)) {
      resolve_from(*object, scope);
      resolve_tie(*object, scope);
      const bool reads_input = !scope.prefix.empty() && !previous && !json.find("from");
      if (reads_input && !scope.inputs[kInput].empty()) {
        write_from(*object, scope.inputs[kInput], json.where);
      }
    }
    if (named) {
      check_free(own, scope, where);
      scope.names[own] = full;
    }
    scope.owners[own] = owner_of(json, own, scope);
    result_.push_back({std::move(json), full, scope.owner + own, scope.shared, named,
                       scope.time_distributed, scope.uses});
    return full;
  }

  static std::string numbered(Scope& scope, const std::string& kind) {
    const int number = scope.unnamed[kind]++;
    return number == 0 ? kind : fmt::format("{}_{}", kind, number);
  }

  static void write_from(Json::Object& object, const std::vector<Reference>& values,
                         const SourceLocation& where) {
    Json::Array list;
    for (const Reference& value : values) list.push_back({value.name, value.where});
    object.push_back({"from", where, {std::move(list), where}});
  }

  /// In a block or module a name is that of an input or of a layer.
  void check_free(const std::string& name, const Scope& scope, const SourceLocation& where) {
    if (scope.prefix.empty() || !scope.inputs.contains(name)) return;
    findings_.add("E0208", fmt::format("\"{}\" is what the block reads", name), where,
                  "give the layer another \"name\"");
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
        for (const Reference& value : resolve({*text, one.where}, scope)) {
          resolved.push_back({value.name, value.where});
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
  /// "tied_to" names a layer above it in this list, one inside of a use there ("inner/table"), or
  /// such a one around this use; or else the owner of parameters as it is.
  static void resolve_tie(Json::Object& object, const Scope& scope) {
    for (Member& member : object) {
      auto* name = std::get_if<std::string>(&member.value.value);
      if (member.key != "tied_to" || !name) continue;
      for (const Scope* list = &scope; list != nullptr; list = list->outer) {
        const auto owner = list->owners.find(*name);
        if (owner == list->owners.end()) continue;
        *name = owner->second;
        break;
      }
    }
  }

  /// Whose parameters a layer has, as read_spec finds it.
  static std::string owner_of(const Json& layer, const std::string& own, const Scope& scope) {
    const Json* other = layer.find("parameters_of");
    const std::string* name = other ? other->get<std::string>() : nullptr;
    return name ? *name : scope.owner + own;
  }
  /// A name that is not of this list stays as it is at the top, and is none of the model's inside.
  std::vector<Reference> resolve(const Reference& reference, const Scope& scope) const {
    const auto known = scope.names.find(reference.name);
    if (known != scope.names.end()) return {{known->second, reference.where}};
    if (scope.prefix.empty()) return {reference};
    const auto input = scope.inputs.find(reference.name);
    if (input != scope.inputs.end()) return input->second;
    return {{scope.prefix + reference.name, reference.where}};
  }

  // --- Uses ---

  /// The definition that a use names; null when there is none to expand.
  const Definition* definition_of(const Json& use, const Kind& kind) {
    const std::string* name = use.get<std::string>();
    const Definitions& known = definitions_[kind.name];
    const auto found = name ? known.find(*name) : known.end();
    const std::string code(kind.code);
    if (found == known.end()) {
      std::vector<std::string> names;
      for (const auto& [other, definition] : known) names.push_back(other);
      findings_.add(code,
                    name
                        ? fmt::format("unknown {} \"{}\"", kind.name, *name)
                        : fmt::format("\"{}\" must be a name, found {}", kind.name, use.describe()),
                    use.where, name ? suggestion(*name, names) : "");
      return nullptr;
    }
    if (std::ranges::find(open_, &found->second) != open_.end()) {
      findings_.add(code, fmt::format("{} \"{}\" stands inside itself", kind.name, *name),
                    use.where);
      return nullptr;
    }
    return &found->second;
  }

  /// What a use reads: "from" as "input", the definition's inputs under their names.
  Inputs read_values(ObjectReader& use, const Definition& definition, const Scope& outer) {
    Inputs values;
    const auto read = [&](const std::string& key, const std::string& name) {
      for (const Reference& reference : use.references(key)) {
        for (Reference& value : resolve(reference, outer)) values[name].push_back(std::move(value));
      }
    };
    read("from", kInput);
    for (const Reference& input : definition.inputs) {
      if (use.required(input.name)) read(input.name, input.name);
      failed_ = failed_ || values[input.name].empty();
    }
    return values;
  }

  static Parameters read_parameters(ObjectReader& use, const Definition& definition) {
    Parameters parameters = definition.defaults;
    for (auto& [key, value] : parameters) {
      if (const Json* given = use.raw(key)) value = *given;
    }
    return parameters;
  }

  std::optional<std::string> instance(const Json& item, const Kind& kind, Scope& outer,
                                      const std::optional<std::string>& previous) {
    const Json& use = *item.find(kind.name);
    const Definition* definition = definition_of(use, kind);
    if (!definition) return std::nullopt;
    const std::string& name = *use.get<std::string>();
    const Json json = substitute(item, outer);
    ObjectReader reader(&json, fmt::format("{} \"{}\"", kind.name, name), findings_);
    reader.point_at(use.where);
    (void)reader.raw(kind.name);
    const std::string own = reader.text("name", numbered(outer, name));
    check_free(own, outer, use.where);
    Inputs inputs = read_values(reader, *definition, outer);
    const Option repeat =
        integer_option("repeat", std::int64_t{1}, "", {1, static_cast<double>(kGreatestRepeat)});
    const Option distributed = boolean_option("time_distributed", outer.time_distributed, "");
    const std::int64_t times = reader.settings({&repeat, 1}).integer("repeat");
    const bool time_distributed = reader.settings({&distributed, 1}).boolean("time_distributed");
    const Parameters parameters = read_parameters(reader, *definition);
    reader.finish();
    std::vector<Reference>& input = inputs[kInput];
    if (input.empty() && previous) input = {{*previous, use.where}};
    if (input.empty()) input = outer.inputs[kInput];
    std::optional<std::string> result;
    open_.push_back(definition);
    for (std::int64_t i = 1; i <= times; ++i) {
      const std::string path = times == 1 ? own : fmt::format("{}/{}", own, i);
      Scope scope{outer.prefix + path + "/",
                  kind.shares ? name + "/" : outer.owner + path + "/",
                  kind.shares || outer.shared,
                  time_distributed,
                  parameters,
                  inputs,
                  {},
                  {},
                  outer.uses,
                  &outer,
                  {}};
      scope.uses.push_back(use.where);
      result = expand(*definition->layers, scope);
      for (const auto& [inner, owner] : scope.owners) outer.owners[path + "/" + inner] = owner;
      if (!result) break;
      input = {{*result, use.where}};
      outer.names[path] = *result;
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
  std::map<std::string_view, Definitions> definitions_;  // by kind
  std::vector<const Definition*> open_;                  // being expanded
  bool failed_ = false;                                  // some expression or input
  std::vector<ExpandedLayer> result_;
};

}  // namespace

ExpandedModel expand_blocks(const Json::Array& layers, const Json* blocks, const Json* modules,
                            const std::string& first_input, Findings& findings) {
  return Expander(blocks, modules, findings).run(layers, first_input);
}

}  // namespace gradus::frontend
