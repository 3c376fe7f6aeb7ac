#include "base/error_codes.h"

#include <string>

#include "base/check.h"

namespace gradus {
namespace {

constexpr ErrorCode kErrorCodes[] = {
    {"E0001", ErrorClass::operation, "operation failed", "The command could not do what it was asked."},
};

}  // namespace

std::span<const ErrorCode> error_codes() { return kErrorCodes; }

const ErrorCode& error_code(std::string_view code) {
  for (const ErrorCode& entry : kErrorCodes) {
    if (entry.code == code) return entry;
  }
  throw InternalError("no such error code: " + std::string(code));
}

}  // namespace gradus
