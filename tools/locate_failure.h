#pragma once

#include <string>

#include "codegen/compile.h"
#include "frontend/model.h"
#include "runtime/trainer.h"

namespace gradus::tools {

/// Runs the failed training step again with every value of its graph in memory, and says where the
/// first number that is not finite came from: layer, place in the model file, op, element. Empty
/// when every value is finite. Of a fault it names the node that raised it.
[[nodiscard]] std::string locate_failure(const frontend::Model& model,
                                         const codegen::CompileOptions& options,
                                         const runtime::NumericFailure& failure);

}  // namespace gradus::tools
