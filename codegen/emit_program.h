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

/// Rows of a group: as many as a random counter has words.
inline constexpr int kGroupRows = 4;

/// Copies of `program`, side by side, for kGroupRows neighbouring positions of `axis`: in copy c
/// the position is c more than in copy 0, where it is a multiple of kGroupRows. Without an axis
/// (-1), as many copies as there are operands for, of a program without positions. Operand i of
/// copy c is operand number operands[c][i]; copy c's results follow those of copy c - 1. What the
/// copies have in common is there once: above all the counter-based random words. The program must
/// not be able to fault.
[[nodiscard]] FlatProgram flatten_rows(const ir::ScalarProgram& program, int axis,
                                       std::span<const std::vector<std::int32_t>> operands);

}  // namespace gradus::codegen
