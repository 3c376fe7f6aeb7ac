#pragma once

#include <string>

#include "ir/graph.h"

namespace gradus::ir {

/// The graph as text, one node per line:
///   graph "train_step"
///   %0 = input {name = "x", kind = "batch", element = f32, shape = [2,3]} : f32[2,3]
///   %1 = exp %0 : f32[2,3]  # mlp.json:9:7 hidden forward
///   loss = %9
///   "hidden/kernel" <- %12
/// Only live nodes and inputs appear; numbers are ids. Attributes equal to their default are left
/// out. Floats are the shortest decimals that read back.
[[nodiscard]] std::string to_text(const Graph& graph);

/// An attribute as it stands in the text.
[[nodiscard]] std::string to_text(const Attribute& attribute);

}  // namespace gradus::ir
