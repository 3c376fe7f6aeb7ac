#pragma once

// Layers of a model file on given values.

#include <map>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "frontend/layers.h"

namespace gradus::frontend {

/// A file with these layers on inputs a, b, ...; one of them is named "last", and the loss reads
/// it.
[[nodiscard]] std::string file_with(const std::string& layers,
                                    const std::vector<std::string>& inputs);

/// Some f32 numbers that begin with `first`.
[[nodiscard]] Tensor tensor_of(const Shape& shape, double first, double step);

/// The result of the file's layers on these inputs and parameters.
[[nodiscard]] Tensor run_layers(const std::string& layers,
                                const std::map<std::string, Tensor>& values,
                                const std::vector<std::string>& inputs,
                                Purpose purpose = Purpose::evaluation);

}  // namespace gradus::frontend
