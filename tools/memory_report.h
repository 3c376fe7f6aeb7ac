#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "codegen/memory_use.h"
#include "runtime/programs.h"
#include "tools/session.h"

namespace gradus::tools {

/// The bytes of a size such as "512M": a number, and K, M or G for a power of 1024. Throws
/// UserError E2006, naming `option`.
[[nodiscard]] std::int64_t parse_size(const std::string& text, const std::string& option);
/// "512.0 MiB".
[[nodiscard]] std::string size_text(std::int64_t bytes);

/// The kinds on one line, their sum first.
[[nodiscard]] std::string memory_line(const codegen::MemoryUse& use);
[[nodiscard]] nlohmann::ordered_json memory_json(const codegen::MemoryUse& use);

/// The resident memory of this process, in bytes; 0 where the system does not say.
[[nodiscard]] std::int64_t resident_bytes();

/// The plan within `limit` of `built`, the model's program. Throws UserError E5002, which names the
/// layers that need most and the largest batch that fits, when there is none.
[[nodiscard]] codegen::FittedPlan fitted_plan(const BuiltProgram& built,
                                              const frontend::Model& model,
                                              runtime::Program program, std::int64_t batch,
                                              const codegen::CompileOptions& options,
                                              const codegen::MemoryLimit& limit);

}  // namespace gradus::tools
