#pragma once

// The laws of kernel IR (codegen/kernel.h), checked without running anything.

#include <optional>
#include <string>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// A broken law: the stage that breaks it (-1: the kernel as a whole), and a message that names
/// kernel, stage and what is wrong.
struct KernelViolation {
  int stage = -1;
  std::string message;
};

/// The first broken law; empty when the kernel keeps all of them. Beyond the laws of kernel.h:
///  - Names are words or quoted strings, unique among axes and among buffers; parameters come
///    before scratch; block axes belong to task axes; `local` stands in scratch only, at task or
///    tile axes whose greatest range fits the extent, indexed by exactly that axis.
///  - A body's program is typed as check_instruction says; its operands have the types of the
///    loaded buffers, its results those of the stored ones; it names no axis but its stage's.
///  - A stage writes each element at most once, reads what it writes only at the point that writes
///    it, and never reads what it accumulates.
///  - An updated buffer belongs to one tile as it belongs to one task, so that tile sizes are free.
///  - Scratch that a stage reads was written, as far as it is read, by one earlier stage.
///  - The axes of `over` are axes of the loop in the loop's order; the target is indexed by all
///    others and by none of them. A sum or arg reduction over the tile axis has it first. `lanes`
///    are for sums over the loop's innermost axis.
///  - A contraction's k is whole in every task; lhs depends on batch, m, k only, rhs on batch, k, n
///    with n contiguous.
[[nodiscard]] std::optional<KernelViolation> find_violation(const Kernel& kernel);

/// Throws InternalError with the message of the first broken law.
void verify(const Kernel& kernel);

}  // namespace gradus::codegen
