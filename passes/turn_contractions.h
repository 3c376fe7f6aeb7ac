#pragma once

#include "ir/graph.h"

namespace gradus::passes {

/// A contraction along the rows of a matrix that is made, element by element, of large results of
/// short sums, such as the gradient of an attention's keys, reads the matrix with rows and columns
/// exchanged, from contractions of their own: its kernel can then make the rows that it needs
/// (passes/fuse.h), and nobody keeps the matrix. Where a task keeps whole matrices (fits_task), one
/// is enough for who wants rows and who wants columns; it becomes their left operand. Nothing is
/// exchanged where somebody else needs the matrix whole.
[[nodiscard]] ir::Graph turn_contractions(const ir::Graph& graph);

}  // namespace gradus::passes
