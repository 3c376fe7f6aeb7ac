#pragma once

#include <string>
#include <vector>

#include "base/tensor.h"
#include "ir/graph.h"
#include "runtime/executable.h"
#include "runtime/memory.h"

namespace gradus::tools {

/// A graph with everything that it reads.
struct Subject {
  ir::Graph graph;
  runtime::StateLayout layout;
  runtime::AlignedBytes state;
  std::vector<Tensor> inputs;  // in the order of the graph's inputs without the states
  std::string what;            // for people
};

/// Fills `bytes` with elements of `type`: floats in [-1, 1) that follow from `stream` alone, all
/// else 0, which is a counter, an index and false.
void fill_randomly(const TensorType& type, std::uint32_t stream, std::span<std::byte> bytes);

/// The graph with random state and inputs.
[[nodiscard]] Subject random_subject(ir::Graph graph);

}  // namespace gradus::tools
