// The layer {"op": name, ...}: any op by its record, its attributes as JSON.

#include <fmt/format.h>

#include "base/overloaded.h"
#include "frontend/layers.h"

namespace gradus::frontend {
namespace {

constexpr Range kAnyWhole{-2147483647.0, 2147483647.0};

std::vector<Alternative> element_types() {
  std::vector<Alternative> alternatives;
  for (ElementType type : kElementTypes)
    alternatives.push_back({std::string(to_string(type)), "", {}});
  return alternatives;
}

/// The attribute's default as an option's.
OptionValue default_of(const ir::AttributeSpec& spec) {
  if (!spec.default_value) return {};
  return std::visit(
      overloaded{[](const ir::GraphPointer&) -> OptionValue {
                   throw InternalError("a graph is no option");
                 },
                 [](ElementType type) { return OptionValue(std::string(to_string(type))); },
                 [](const auto& value) { return OptionValue(value); }},
      *spec.default_value);
}

Option option_of(const ir::AttributeSpec& spec) {
  const std::string name(spec.name);
  const std::string doc(spec.doc);
  Option option = text_option(name, default_of(spec), doc);
  switch (spec.kind) {
    case ir::AttributeKind::boolean:
      option.kind = OptionKind::boolean;
      break;
    case ir::AttributeKind::integer:
      option.kind = OptionKind::integer;
      option.range = kAnyWhole;
      break;
    case ir::AttributeKind::number:
      option.kind = OptionKind::number;
      break;
    case ir::AttributeKind::integers:
      option.kind = OptionKind::integers;
      option.range = kAnyWhole;
      option.batch_extent = true;
      break;
    case ir::AttributeKind::element_type:
      option.kind = OptionKind::choice;
      option.alternatives = element_types();
      break;
    case ir::AttributeKind::tensor:
      option.kind = OptionKind::tensor;
      break;
    case ir::AttributeKind::text:
    case ir::AttributeKind::graph:  // of no op that a layer may name
      break;
  }
  return option;
}

constexpr std::int64_t kStreamOfPath = -1;

ir::Attribute attribute_of(LayerBuilder& b, const Setting& setting) {
  return std::visit(overloaded{[](std::monostate) -> ir::Attribute {
                                 throw InternalError("an attribute without value");
                               },
                               [](const Choice& choice) -> ir::Attribute {
                                 return *parse_element_type(choice.name);
                               },
                               [&](ir::Integers values) -> ir::Attribute {
                                 for (std::int64_t& value : values) {
                                   if (value == kBatchExtent) value = b.batch;
                                 }
                                 return values;
                               },
                               [&](std::int64_t value) -> ir::Attribute {
                                 if (setting.name != "stream") return value;
                                 if (value == kStreamOfPath)
                                   return b.streams.of(b.path + "/stream", b.where);
                                 b.streams.claim(value, b.path + "/stream", b.where);
                                 return value;
                               },
                               [](const auto& value) -> ir::Attribute { return value; }},
                    setting.value);
}

}  // namespace

std::vector<Option> op_options(const ir::OpRecord& op) {
  std::vector<Option> options;
  for (const ir::AttributeSpec& spec : op.attributes) {
    Option option = option_of(spec);
    if (spec.name == "stream") {
      option.default_value = kStreamOfPath;
      option.doc += " -1: from the layer's name.";
      option.range = {-1, 4294967295.0};
    }
    options.push_back(std::move(option));
  }
  return options;
}

ir::Expr build_op(LayerBuilder& b, const ir::OpRecord& op) {
  ir::Attributes attributes;
  for (const Setting& setting : b.settings.entries()) {
    attributes.set(setting.name, attribute_of(b, setting));
  }
  std::vector<ir::Value> operands;
  for (const LayerInput& input : b.inputs) operands.push_back(input.value.value);
  return {&b.graph, {b.graph.add(op, operands, std::move(attributes)), 0}};
}

}  // namespace gradus::frontend
