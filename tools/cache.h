#pragma once

#include <memory>

#include "codegen/code_cache.h"
#include "runtime/file_store.h"

namespace gradus::tools {

/// The folder of compiled code: $GRADUS_CACHE, else gradus/ in the user's cache folder; empty when
/// GRADUS_CACHE is empty or the user has no home.
[[nodiscard]] std::string cache_folder();

/// The user's store of compiled code; null when there is no folder for it.
[[nodiscard]] std::shared_ptr<codegen::CodeStore> open_code_store();

}  // namespace gradus::tools
