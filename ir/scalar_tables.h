#pragma once

// Tables of sixteen numbers: coefficients that the math library picks by a segment of its argument.

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace gradus::ir {

inline constexpr std::size_t kTableSize = 16;  // f32 of a 512-bit register

struct ScalarTable {
  std::string_view name;
  std::array<float, kTableSize> values;  // normal numbers and zeros
};

/// Every table; the position is the immediate of ScalarOp::table.
[[nodiscard]] std::span<const ScalarTable> scalar_tables();

/// Position of the table; throws InternalError when there is none.
[[nodiscard]] std::size_t scalar_table(std::string_view name);

}  // namespace gradus::ir
