#pragma once

#include <string>

namespace gradus::tools {

/// LLVM IR and assembly of one function side by side, basic block by basic block, under the lines
/// of the model file. Both texts are of one module with debug information.
[[nodiscard]] std::string side_by_side(const std::string& llvm_ir, const std::string& assembly);

}  // namespace gradus::tools
