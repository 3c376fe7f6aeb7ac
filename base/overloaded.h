#pragma once

namespace gradus {

/// A visitor made of lambdas, for std::visit.
template <typename... Functions>
struct overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
overloaded(Functions...) -> overloaded<Functions...>;

}  // namespace gradus
