#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "runtime/executable.h"

namespace gradus::runtime {

/// The four programs over one state layout. `init` has one input, the seed i64[], and writes the
/// whole state; the others read a batch. `train_step` and `evaluate` have an output per loss
/// and one per metric; `predict` has the model's outputs, whose leading axis is the batch.
enum class Program : std::uint8_t { init, train_step, evaluate, predict };
inline constexpr std::string_view kProgramNames[] = {"init", "train_step", "evaluate", "predict"};
[[nodiscard]] constexpr std::string_view to_string(Program program) {
  return kProgramNames[static_cast<std::size_t>(program)];
}
/// Empty when there is no program of that name.
[[nodiscard]] constexpr std::optional<Program> parse_program(std::string_view name) {
  for (Program program :
       {Program::init, Program::train_step, Program::evaluate, Program::predict}) {
    if (to_string(program) == name) return program;
  }
  return std::nullopt;
}

/// A model as the runtime sees it.
struct Programs {
  StateLayout layout;
  /// Whether example i of a batch follows example i of the batch before (contiguous_order).
  bool contiguous = false;
  /// The program compiled for batches of this size (0 for init). Called again and again: the
  /// answer stays valid and a second request is cheap.
  std::function<const Executable&(Program, std::int64_t batch)> executable;
};

}  // namespace gradus::runtime
