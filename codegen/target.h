#pragma once

// Instruction sets. All give the same bits.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/element_type.h"

namespace gradus::codegen {

enum class InstructionSet : std::uint8_t { native, x86_64, x86_64_v3, x86_64_v4, aarch64 };

inline constexpr InstructionSet kInstructionSets[] = {
    InstructionSet::native, InstructionSet::x86_64, InstructionSet::x86_64_v3,
    InstructionSet::x86_64_v4, InstructionSet::aarch64};

/// The spelling of the command line: native, x86-64, x86-64-v3, x86-64-v4, aarch64.
[[nodiscard]] std::string_view to_string(InstructionSet set);
/// Inverse of `to_string`; empty when `name` is no instruction set.
[[nodiscard]] std::optional<InstructionSet> parse_instruction_set(std::string_view name);

/// What code is generated for.
struct Target {
  InstructionSet set = InstructionSet::x86_64;
  std::string cpu;  // LLVM's names of processor and features
  std::string features;
  int vector_bits = 128;
  bool fma = false;
  bool avx512 = false;        // with the BW, DQ and VL extensions
  int vectors_per_cycle = 2;  // fma of whole vectors that start in a cycle

  [[nodiscard]] bool is_aarch64() const { return set == InstructionSet::aarch64; }
  [[nodiscard]] int vector_registers() const { return avx512 || is_aarch64() ? 32 : 16; }
  /// Elements of one vector register.
  [[nodiscard]] std::int64_t width(ElementType type) const {
    return vector_bits / (8 * byte_size(type));
  }
};

[[nodiscard]] Target make_target(InstructionSet set);

/// Whether this machine can run code for `set`; for aarch64 never: it is only compiled for.
[[nodiscard]] bool host_supports(InstructionSet set);

/// The greatest set other than native that this machine can run.
[[nodiscard]] InstructionSet greatest_supported();

}  // namespace gradus::codegen
