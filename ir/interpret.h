#pragma once

// The reference interpreter: slow, obvious, the definition of every value. All executors give the
// bits that it gives.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "ir/graph.h"
#include "ir/scalar_program.h"

namespace gradus::ir {

/// What a node raised first: kind, node, and the row-major position of the element.
struct Fault {
  FaultKind kind = FaultKind::none;
  NodeId node = 0;
  std::int64_t element = 0;
};

struct Interpretation {
  std::map<std::string, Tensor> outputs;  // results by name
  std::map<std::string, Tensor> updates;  // new state by name
  Fault fault;
};

/// Runs the live part of `graph`; `inputs` has a tensor of the declared type for every live input.
/// Throws InternalError when one is missing or of another type.
[[nodiscard]] Interpretation interpret(const Graph& graph,
                                       const std::map<std::string, Tensor>& inputs);

/// The results of one node from its operands' values.
[[nodiscard]] std::vector<Tensor> interpret_node(const Node& node,
                                                 const std::vector<const Tensor*>& operands,
                                                 Fault& fault);

}  // namespace gradus::ir
