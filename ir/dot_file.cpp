#include "ir/dot_file.h"

#include <fmt/format.h>

#include <boost/graph/filtered_graph.hpp>
#include <boost/graph/graphviz.hpp>
#include <sstream>

#include "ir/graph_structure.h"
#include "ir/op.h"
#include "ir/text.h"

namespace gradus::ir {
namespace {

constexpr std::size_t kLongestAttribute = 40;  // characters of a label's line

/// `text` as a string of DOT, in which \n is a line break.
std::string dot_string(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c == '\n' ? "\\n" : std::string(1, c);
  }
  return result + '"';
}

std::string label(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  std::string text = fmt::format("%{} {}", id, node.op->name);
  for (const auto& [name, value] : node.attributes) {
    if (std::holds_alternative<GraphPointer>(value)) continue;  // a cluster
    std::string shown = to_text(value);
    if (shown.size() > kLongestAttribute) shown = shown.substr(0, kLongestAttribute - 3) + "...";
    text += fmt::format("\n{} = {}", name, shown);
  }
  return text + '\n' + to_string(node.types[0]);
}

using Colour = std::function<std::string(const Graph&, NodeId)>;

/// The attributes of a node's box.
std::string box(const Graph& graph, NodeId id, const Colour& colour) {
  const std::string fill = colour ? colour(graph, id) : "";
  return fmt::format("[label={}{}]", dot_string(label(graph, id)),
                     fill.empty() ? "" : ",style=filled,fillcolor=" + dot_string(fill));
}

std::vector<bool> shown_nodes(const Graph& graph) {
  std::vector<bool> shown = graph.live();
  for (NodeId id : graph.inputs()) shown[id] = true;
  return shown;
}

/// The graphs inside of `graph` as clusters, whose nodes are called "17.3": number 3 of node 17.
std::string clusters(const Graph& graph, const std::string& prefix, const Colour& colour) {
  std::string text;
  const std::vector<bool> shown = shown_nodes(graph);
  for (NodeId id = 0; id < graph.size(); ++id) {
    for (const auto& [name, value] : graph.node(id).attributes) {
      const auto* inner = std::get_if<GraphPointer>(&value);
      if (!shown[id] || inner == nullptr) continue;
      const Graph& body = **inner;
      const std::vector<bool> live = shown_nodes(body);
      const std::string path = fmt::format("{}{}.", prefix, id);
      text += fmt::format("subgraph {} {{\nlabel={};\n", dot_string("cluster " + path),
                          dot_string(fmt::format("{} of %{}", name, id)));
      for (NodeId node = 0; node < body.size(); ++node) {
        if (!live[node]) continue;
        const std::string own = dot_string(path + std::to_string(node));
        text += fmt::format("{}{};\n", own, box(body, node, colour));
        for (const Value operand : body.operands(node)) {
          text += fmt::format("{}->{};\n", dot_string(path + std::to_string(operand.node)), own);
        }
      }
      text += clusters(body, path, colour) + "}\n";
    }
  }
  return text;
}

struct KeptNodes {
  const std::vector<bool>* kept = nullptr;
  bool operator()(BoostGraph::vertex_descriptor id) const { return (*kept)[id]; }
};

}  // namespace

std::string to_dot(const Graph& graph, const Colour& colour) {
  const std::vector<bool> kept = shown_nodes(graph);
  const BoostGraph& all = graph.structure().graph;
  const boost::filtered_graph<BoostGraph, boost::keep_all, KeptNodes> shown(all, {}, {&kept});
  const auto write_node = [&](std::ostream& out, BoostGraph::vertex_descriptor id) {
    out << box(graph, static_cast<NodeId>(id), colour);
  };
  const auto write_edge = [&](std::ostream& out, const BoostGraph::edge_descriptor& edge) {
    if (boost::in_degree(boost::target(edge, all), all) > 1) {
      out << "[label=" << all[edge].operand << "]";
    }
  };
  const auto write_graph = [&](std::ostream& out) {
    out << "label=" << dot_string(graph.name()) << ";\nnode [shape=box];\n";
    std::size_t number = 0;
    for (const Result& result : graph.results()) {
      out << fmt::format("result{} [shape=plaintext,label={}];\n{} -> result{};\n", number,
                         dot_string(result.update ? result.name + " (new)" : result.name),
                         result.value.node, number);
      ++number;
    }
    out << clusters(graph, "", colour);
  };
  std::ostringstream text;
  boost::write_graphviz(text, shown, write_node, write_edge, write_graph);
  return text.str();
}

}  // namespace gradus::ir
