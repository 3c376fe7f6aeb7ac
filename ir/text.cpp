#include "ir/text.h"

#include <fmt/format.h>

#include "base/overloaded.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

std::string tensor_text(const Tensor& tensor) {
  std::string text = to_string(tensor.type) + " [";
  dispatch(tensor.type.element, [&](auto zero) {
    using T = decltype(zero);
    bool first = true;
    for (T value : tensor.as<T>()) {
      text += first ? "" : ", ";
      first = false;
      if constexpr (std::is_same_v<T, bool>) {
        text += value ? "true" : "false";
      } else {
        text += fmt::format("{}", value);
      }
    }
  });
  return text + "]";
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

std::string node_text(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  std::string text = fmt::format("%{} = {}", id, node.op->name);
  std::string separator = " ";
  for (Value operand : graph.operands(id)) {
    text += fmt::format("{}%{}", separator, operand.node);
    separator = ", ";
  }
  std::string attributes;
  for (std::size_t i = 0; i < node.op->attributes.size(); ++i) {
    const AttributeSpec& spec = node.op->attributes[i];
    const Attribute& value = *node.attributes.find(spec.name);
    if (spec.default_value && same_bits(*spec.default_value, value)) continue;
    attributes += fmt::format("{}{} = {}", attributes.empty() ? "" : ", ", spec.name, to_text(value));
  }
  if (!attributes.empty()) text += " {" + attributes + "}";
  text += " : " + to_string(node.types[0]);
  if (!node.provenance.empty()) text += "  # " + to_string(node.provenance);
  return text + '\n';
}

}  // namespace

std::string to_text(const Attribute& attribute) {
  return std::visit(
      overloaded{
          [](bool value) -> std::string { return value ? "true" : "false"; },
          [](std::int64_t value) { return std::to_string(value); },
          [](double value) {
            std::string text = fmt::format("{}", value);
            return text.find_first_of(".en") == text.npos ? text + ".0" : text;
          },
          [](const std::string& value) { return quoted(value); },
          [](const Integers& value) { return to_string(value); },
          [](ElementType value) { return std::string(to_string(value)); },
          [](const TensorPointer& value) { return tensor_text(*value); },
      },
      attribute);
}

std::string to_text(const Graph& graph) {
  std::string text = "graph " + quoted(graph.name()) + '\n';
  std::vector<bool> live = graph.live();
  for (NodeId id : graph.inputs()) live[id] = true;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (live[id]) text += node_text(graph, id);
  }
  for (const Result& result : graph.results()) {
    text += fmt::format("{} {} %{}\n", quoted(result.name), result.update ? "<-" : "=",
                        result.value.node);
  }
  return text;
}

}  // namespace gradus::ir
