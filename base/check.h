#pragma once

#include <stdexcept>
#include <string>

namespace gradus {

/// A broken invariant of Gradus itself: never the user's fault. Exit code 70.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               const std::string& message);

}  // namespace gradus

/// Throws InternalError naming the condition and the place unless `condition` holds.
#define GRADUS_CHECK(condition, message)                                               \
  do {                                                                                 \
    if (!(condition)) ::gradus::check_failed(#condition, __FILE__, __LINE__, message); \
  } while (false)
