#pragma once

// What the tests that compare executors share.

#include <map>
#include <string>

#include "base/tensor.h"
#include "codegen/compile.h"
#include "ir/interpret.h"

namespace gradus {

using Inputs = std::map<std::string, Tensor>;

/// Numbers of any type; floats in [low, high), integers truncated from them, bools by halves.
Tensor random_tensor(const TensorType& type, std::uint32_t seed, double low, double high);

/// Equal bits, where all NaNs are one.
bool same(const Tensor& a, const Tensor& b);

/// Runs the graph through kernels; outputs and updates by name. With `least_memory` kernels run
/// again wherever that makes the arena smaller.
ir::Interpretation run(const ir::Graph& graph, const Inputs& inputs,
                       const codegen::CompileOptions& options, int threads,
                       bool least_memory = false);

/// Runs the graph through the interpreter of its fused kernels, one task after the other.
ir::Interpretation interpret_kernels(const ir::Graph& graph, const Inputs& inputs,
                                     codegen::Tuner* tuner = nullptr);

/// Expects every output and update to be the same; `what` names the executor.
void expect_same(const ir::Interpretation& expected, const ir::Interpretation& found,
                 const std::string& what);

}  // namespace gradus
