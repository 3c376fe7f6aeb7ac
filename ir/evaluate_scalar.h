#pragma once

// The reference meaning of scalar programs. A value travels as the bits of its type in the low end
// of a 64-bit word, zero above; bool is 0 or 1. Callers are inside a FloatEnvironment.

#include <bit>
#include <cstdint>
#include <span>
#include <type_traits>

#include "ir/scalar_program.h"

namespace gradus::ir {

/// The word that carries `value`.
template <typename T>
[[nodiscard]] constexpr std::uint64_t to_word(T value) {
  if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<std::uint32_t>(value);
  } else if constexpr (std::is_same_v<T, double>) {
    return std::bit_cast<std::uint64_t>(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? 1 : 0;
  } else {
    return static_cast<std::make_unsigned_t<T>>(value);
  }
}

/// The value in `word`.
template <typename T>
[[nodiscard]] constexpr T from_word(std::uint64_t word) {
  if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(word));
  } else if constexpr (std::is_same_v<T, double>) {
    return std::bit_cast<double>(word);
  } else if constexpr (std::is_same_v<T, bool>) {
    return word != 0;
  } else {
    return static_cast<T>(word);
  }
}

/// A fault that a program raised: the kind, and which instruction of the program raised it first.
struct ScalarFault {
  FaultKind kind = FaultKind::none;
  std::int32_t instruction = -1;
};

/// One element: results[r] is result r for these operands (one word each) and these positions (one
/// per axis). `fault` (may be null) receives a FaultKind unless it already holds one.
void evaluate(const ScalarProgram& program, std::span<const std::uint64_t> operands,
              std::span<const std::int64_t> indices, std::span<std::uint64_t> results,
              std::uint64_t* fault);

/// `count` elements at once, which costs far less per element: operand i of element e is
/// operands[i * count + e], likewise indices and results. `faults` is empty or has one entry per
/// element; an entry that already holds a fault keeps it.
void evaluate_many(const ScalarProgram& program, std::int64_t count,
                   std::span<const std::uint64_t> operands, std::span<const std::int64_t> indices,
                   std::span<std::uint64_t> results, std::span<ScalarFault> faults);

}  // namespace gradus::ir
