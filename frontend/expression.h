#pragma once

// Small total expressions in model files: "=2*filters".

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

#include "frontend/json.h"

namespace gradus::frontend {

/// What is wrong with an expression.
class ExpressionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Names that an expression may use.
using Parameters = std::map<std::string, Json>;

/// The value of `text` (without the "="), at place `where`. A lone name stands for the parameter,
/// whatever it is; else numbers, names of numbers, + - *, / (exact for whole numbers), // and %
/// (rounded down), min(a, b), max(a, b) and parentheses. Whole numbers stay whole. Throws
/// ExpressionError when malformed, when a name is unknown or no number, when a division is not
/// exact or by zero, and on overflow.
[[nodiscard]] Json evaluate_expression(std::string_view text, const Parameters& parameters,
                                       const SourceLocation& where);

}  // namespace gradus::frontend
