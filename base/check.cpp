#include "base/check.h"

namespace gradus {

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  throw InternalError(std::string(file) + ":" + std::to_string(line) +
                      ": check failed: " + condition + (message.empty() ? "" : ": " + message));
}

}  // namespace gradus
