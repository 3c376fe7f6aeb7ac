#pragma once

#include "codegen/kernel.h"
#include "codegen/target.h"

namespace gradus::codegen {

/// A contraction with one column as one with one row, whose vectors are positions of m: factors
/// commute, and the vectors are full. The last of the rows become columns - copied by the task
/// where they are not neighbours in memory -, the others a batch. Any other contraction stays as it
/// is.
[[nodiscard]] Contract exchange_one_column(const Kernel& kernel, Contract contract,
                                           const Target& target);

}  // namespace gradus::codegen
