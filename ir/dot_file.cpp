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
    std::string shown = to_text(value);
    if (shown.size() > kLongestAttribute) shown = shown.substr(0, kLongestAttribute - 3) + "...";
    text += fmt::format("\n{} = {}", name, shown);
  }
  return text + '\n' + to_string(node.types[0]);
}

struct KeptNodes {
  const std::vector<bool>* kept = nullptr;
  bool operator()(BoostGraph::vertex_descriptor id) const { return (*kept)[id]; }
};

}  // namespace

std::string to_dot(const Graph& graph, const std::function<std::string(NodeId)>& colour) {
  std::vector<bool> kept = graph.live();
  for (NodeId id : graph.inputs()) kept[id] = true;
  const BoostGraph& all = graph.structure().graph;
  const boost::filtered_graph<BoostGraph, boost::keep_all, KeptNodes> shown(all, {}, {&kept});
  const auto write_node = [&](std::ostream& out, BoostGraph::vertex_descriptor id) {
    const auto node = static_cast<NodeId>(id);
    out << "[label=" << dot_string(label(graph, node));
    const std::string fill = colour ? colour(node) : "";
    if (!fill.empty()) out << ",style=filled,fillcolor=" << dot_string(fill);
    out << "]";
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
  };
  std::ostringstream text;
  boost::write_graphviz(text, shown, write_node, write_edge, write_graph);
  return text.str();
}

}  // namespace gradus::ir
