#pragma once

#include <boost/graph/adjacency_list.hpp>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/known_nodes.h"

namespace gradus::ir {

/// An operand: edge from the producing node to the using one.
struct Edge {
  std::uint32_t operand = 0;  // position among the user's operands
  std::uint32_t result = 0;   // which result of the producer
};

/// Parallel edges occur: mul(x, x) has two.
using BoostGraph =
    boost::adjacency_list<boost::vecS, boost::vecS, boost::bidirectionalS, Node, Edge>;

struct GraphStructure {
  BoostGraph graph;
  /// Of each node, in order: what its in-edges say. The vectors stay where they are.
  std::deque<std::vector<Value>> operands;
  KnownNodes known;
  std::map<std::string, NodeId, std::less<>> inputs;  // by name
};

}  // namespace gradus::ir
