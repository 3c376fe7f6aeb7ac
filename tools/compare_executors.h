#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "codegen/compile.h"
#include "codegen/kernel.h"

namespace gradus::tools {

/// A value that two executors computed from the same random inputs.
struct ComparedValue {
  std::string name;
  TensorType type;
  /// The first element whose bits differ, and both values; all NaNs are one. Empty: none differs.
  std::string difference;
};

/// A graph's outputs and updates: interpreter against kernels. Both begin with the inputs that
/// `seed` gives. A fault ends the kernels early, so that of a step with one only the kind of fault
/// is compared.
[[nodiscard]] std::vector<ComparedValue> compare_executors(const ir::Graph& graph,
                                                           std::uint32_t seed,
                                                           const codegen::CompileOptions& options);

/// What each kernel writes and the fault that it raises: kernel interpreter against machine code.
[[nodiscard]] std::vector<ComparedValue> compare_executors(std::span<const codegen::Kernel> kernels,
                                                           std::uint32_t seed,
                                                           codegen::InstructionSet set);

}  // namespace gradus::tools
