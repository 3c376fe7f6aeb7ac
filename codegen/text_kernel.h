#pragma once

// The text form of kernels: complete, so that a kernel can be dumped, edited by hand and fed back.
// codegen/README.md shows it. One line says one thing; `#` starts a comment; blank lines are free.

#include <string>
#include <string_view>
#include <vector>

#include "codegen/kernel.h"

namespace gradus::codegen {

/// Prints the kernel; parsing the print gives a kernel that prints the same. The kernel must keep
/// the laws of names (verify_kernel.h), else its text is ambiguous.
[[nodiscard]] std::string to_string(const Kernel& kernel);

/// Spelling of one access or affine index, with the axes' names; for prints and messages.
[[nodiscard]] std::string to_string(const Affine& affine, const std::vector<Axis>& axes);
[[nodiscard]] std::string to_string(const Access& access, const Kernel& kernel);

/// sum, max, min, arg_max, arg_min, any, all.
[[nodiscard]] std::string_view to_string(ir::ReductionKind kind);

/// Reads every kernel of `text` without asking whether it keeps the laws. Throws UserError with
/// the place in `file` where the text is malformed.
[[nodiscard]] std::vector<Kernel> parse_kernels(std::string_view text,
                                                const std::string& file = {});

/// Reads the one kernel of `text` as parse_kernels does.
[[nodiscard]] Kernel parse_kernel(std::string_view text, const std::string& file = {});

/// Reads every kernel of `text` and verifies it: a broken law is a UserError at the line of the
/// stage that breaks it. What tools do with a text that was edited by hand.
[[nodiscard]] std::vector<Kernel> read_kernels(std::string_view text, const std::string& file = {});

}  // namespace gradus::codegen
