#pragma once

#include <span>
#include <string_view>

#include "base/diagnostic.h"

namespace gradus {

/// One error that a user can meet. The table is the only list: `explain` prints it, and a test
/// asks for a case that raises each.
struct ErrorCode {
  std::string_view code;
  ErrorClass error_class;
  std::string_view title;
  std::string_view explanation;
};

[[nodiscard]] std::span<const ErrorCode> error_codes();

/// The entry of `code`; throws InternalError when there is none.
[[nodiscard]] const ErrorCode& error_code(std::string_view code);

}  // namespace gradus
