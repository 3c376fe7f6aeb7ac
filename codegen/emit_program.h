#pragma once

// Scalar programs as the emitter wants them: one straight line without calls.

#include <cstdint>
#include <span>
#include <vector>

#include "ir/scalar_program.h"

namespace gradus::codegen {

/// A straight line of instructions without calls, without arithmetic on constants alone and
/// without an instruction twice. LLVM must never see arithmetic on constants: it would fold it
/// without flushing subnormals.
struct FlatProgram : ir::ScalarProgram {
  std::vector<std::uint32_t> nodes;  // by instruction: the graph node of one that can fault, else 0
};

/// `program` flattened; `fault_nodes` names the nodes of its faulting instructions in order (a
/// missing entry counts as node 0).
[[nodiscard]] FlatProgram flatten(const ir::ScalarProgram& program,
                                  std::span<const std::uint32_t> fault_nodes);

}  // namespace gradus::codegen
