#pragma once

// The math library: functions written once as scalar programs, so that every executor computes the
// same bits. Each entry says where its method comes from and how accurate it is.

#include <span>
#include <string_view>

#include "ir/scalar_program.h"

namespace gradus::ir {

struct MathFunction {
  std::string_view name;  // exp, log, log1p, expm1, tanh, sigmoid, erf, pow, floor, ...
  ElementType type;       // f32 or f64: of all arguments and of the result
  int arity;
  double ulp;  // greatest error in units in the last place, over all finite results
  ScalarProgram program;
};

/// Every function, f32 and f64; the position is the immediate of ScalarOp::call.
[[nodiscard]] std::span<const MathFunction> math_functions();

/// Position of the function; throws InternalError when there is none.
[[nodiscard]] std::size_t math_function(std::string_view name, ElementType type);

}  // namespace gradus::ir
