#pragma once

#include <cstdint>
#include <map>
#include <span>
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

/// Which random numbers: those of one stream of a seed.
struct RandomStream {
  std::uint32_t stream = 0;
  std::uint32_t seed = 0;
};

/// Fills `bytes` with elements of `type` that follow from `random` alone: floats in [-1, 1); all
/// else 0 or 1, which is a counter, an index of any axis but the shortest, and a truth value.
void fill_randomly(const TensorType& type, const RandomStream& random, std::span<std::byte> bytes);

/// The graph with random state and inputs.
[[nodiscard]] Subject random_subject(ir::Graph graph, std::uint32_t seed = 0);

/// All inputs by name, as the interpreter takes them.
[[nodiscard]] std::map<std::string, Tensor> inputs_by_name(const Subject& subject);

}  // namespace gradus::tools
