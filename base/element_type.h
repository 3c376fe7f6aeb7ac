#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace gradus {

/// The type of one tensor element. `boolean` is stored as one byte, 0 or 1.
enum class ElementType : std::uint8_t { f32, f64, i32, i64, u32, u8, boolean };

inline constexpr ElementType kElementTypes[] = {
    ElementType::f32, ElementType::f64, ElementType::i32,    ElementType::i64,
    ElementType::u32, ElementType::u8,  ElementType::boolean};

/// Bytes of one element in memory.
[[nodiscard]] constexpr std::int64_t byte_size(ElementType type) {
  switch (type) {
    case ElementType::f64:
    case ElementType::i64:
      return 8;
    case ElementType::f32:
    case ElementType::i32:
    case ElementType::u32:
      return 4;
    case ElementType::u8:
    case ElementType::boolean:
      break;
  }
  return 1;
}

[[nodiscard]] constexpr bool is_float(ElementType type) {
  return type == ElementType::f32 || type == ElementType::f64;
}
/// True for i32, i64, u32, u8; bool is not an integer.
[[nodiscard]] constexpr bool is_integer(ElementType type) {
  return !is_float(type) && type != ElementType::boolean;
}
[[nodiscard]] constexpr bool is_signed_integer(ElementType type) {
  return type == ElementType::i32 || type == ElementType::i64;
}

/// The spelling used in every text form: f32, f64, i32, i64, u32, u8, bool.
[[nodiscard]] constexpr std::string_view to_string(ElementType type) {
  constexpr std::string_view names[] = {"f32", "f64", "i32", "i64", "u32", "u8", "bool"};
  return names[static_cast<std::size_t>(type)];
}

/// Inverse of `to_string`; empty when `name` is no element type.
[[nodiscard]] constexpr std::optional<ElementType> parse_element_type(std::string_view name) {
  for (ElementType type : kElementTypes) {
    if (to_string(type) == name) return type;
  }
  return std::nullopt;
}

/// Calls `function` with a value of the C++ type that stores `type` (bool for boolean).
template <typename Function>
constexpr decltype(auto) dispatch(ElementType type, Function&& function) {
  switch (type) {
    case ElementType::f32:
      return function(float{});
    case ElementType::f64:
      return function(double{});
    case ElementType::i32:
      return function(std::int32_t{});
    case ElementType::i64:
      return function(std::int64_t{});
    case ElementType::u32:
      return function(std::uint32_t{});
    case ElementType::u8:
      return function(std::uint8_t{});
    case ElementType::boolean:
      break;
  }
  return function(bool{});
}

}  // namespace gradus
