#include "ir/text.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/overloaded.h"
#include "base/text_lines.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

template <typename T>
std::string number_text(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(value)) {
      using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
      const auto bits = std::bit_cast<Bits>(value);
      const bool canonical = bits == std::bit_cast<Bits>(std::numeric_limits<T>::quiet_NaN());
      return canonical ? "nan" : fmt::format("nan({})", bits);
    }
  }
  return fmt::format("{}", value);
}

std::string tensor_text(const Tensor& tensor) {
  std::string text = to_string(tensor.type) + " [";
  dispatch(tensor.type.element, [&](auto zero) {
    using T = decltype(zero);
    bool first = true;
    for (T value : tensor.as<T>()) {
      if (!first) text += ", ";
      first = false;
      text += number_text(value);
    }
  });
  return text + "]";
}

/// Every line of the graph but the first indented.
std::string graph_text(const Graph& graph) {
  std::string text;
  for (char c : to_text(graph)) text += c == '\n' ? std::string("\n  ") : std::string(1, c);
  text.resize(text.size() - 2);
  return text.insert(text.find('\n'), " {") + '}';
}

std::string value_text(Value value) {
  return value.result == 0 ? fmt::format("%{}", value.node)
                           : fmt::format("%{}/{}", value.node, value.result);
}

std::string types_text(const ResultTypes& types) {
  std::string text;
  for (const TensorType& type : types) text += (text.empty() ? "" : ", ") + to_string(type);
  return text;
}

std::string attributes_text(const Node& node) {
  std::string text;
  for (const AttributeSpec& spec : node.op->attributes) {
    const Attribute& value = *node.attributes.find(spec.name);
    if (spec.default_value && same_bits(*spec.default_value, value)) continue;
    text += fmt::format("{}{} = {}", text.empty() ? " {" : ", ", spec.name, to_text(value));
  }
  return text.empty() ? text : text + '}';
}

/// The file is left out of a place with a line where it is `file`.
std::string place_text(const SourceLocation& where, const std::string* file = nullptr) {
  const bool has_line = where.line != 0 || where.column != 0;
  std::string text = has_line && file != nullptr && where.file == *file ? "" : quote(where.file);
  if (has_line) text += fmt::format("{}{}:{}", text.empty() ? "" : ":", where.line, where.column);
  if (where.length != 1) text += fmt::format("+{}", where.length);
  return text;
}

std::string provenance_text(const Provenance& provenance) {
  std::string text;
  for (const auto& [origin, role] : provenance.entries()) {
    text += (text.empty() ? " @ " : ", ") + place_text(origin->where);
    std::string uses;
    for (const SourceLocation& use : origin->uses) {
      uses += (uses.empty() ? " used " : ", ") + place_text(use, &origin->where.file);
    }
    text += uses;
    if (!origin->layer.empty()) text += ' ' + quote(origin->layer);
    text += ' ';
    text += to_string(role);
  }
  return text;
}

std::string node_text(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  std::string text = fmt::format("%{} = ", id);
  if (std::holds_alternative<InputComputation>(node.op->compute)) {
    text += node.attributes.get<std::string>("kind") + ' ' +
            quote(node.attributes.get<std::string>("name"));
  } else {
    text += node.op->name;
    std::string separator = " ";
    for (Value operand : graph.operands(id)) {
      text += separator + value_text(operand);
      separator = ", ";
    }
    text += attributes_text(node);
  }
  return text + " : " + types_text(node.types) + provenance_text(node.provenance) + '\n';
}

}  // namespace

std::string to_text(const Attribute& attribute) {
  return std::visit(overloaded{
                        [](bool value) -> std::string { return value ? "true" : "false"; },
                        [](std::int64_t value) { return std::to_string(value); },
                        [](double value) { return number_text(value); },
                        [](const std::string& value) { return quote(value); },
                        [](const Integers& value) { return to_string(value); },
                        [](ElementType value) { return std::string(to_string(value)); },
                        [](const TensorPointer& value) { return tensor_text(*value); },
                        [](const GraphPointer& value) { return graph_text(*value); },
                    },
                    attribute);
}

std::string to_text(const Graph& graph) {
  std::string text = "graph " + quote(graph.name()) + '\n';
  std::vector<bool> live = graph.live();
  for (NodeId id : graph.inputs()) live[id] = true;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (live[id]) text += node_text(graph, id);
  }
  for (const Result& result : graph.results()) {
    text += fmt::format("{} {} {}\n", quote(result.name), result.update ? "<-" : "=",
                        value_text(result.value));
  }
  return text;
}

}  // namespace gradus::ir
