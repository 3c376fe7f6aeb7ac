#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <string_view>

#include "runtime/executable.h"

namespace gradus::runtime {

/// The programs of a model. Those of training share one state layout: `init` has one input, the
/// seed i64[], and writes the whole state; the others read a batch. `train_step` and `evaluate`
/// have an output per loss and one per metric; `predict` has the model's outputs, whose leading
/// axis is the batch. Those of generation share another: `decode` reads one token of every sequence
/// and tells the next one, after `encode` has read the sequences that an encoder is given.
enum class Program : std::uint8_t { init, train_step, evaluate, predict, decode, encode };
inline constexpr std::string_view kProgramNames[] = {"init",    "train_step", "evaluate",
                                                     "predict", "decode",     "encode"};
[[nodiscard]] constexpr std::string_view to_string(Program program) {
  return kProgramNames[static_cast<std::size_t>(program)];
}
/// Empty when there is no program of that name.
[[nodiscard]] constexpr std::optional<Program> parse_program(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kProgramNames); ++i) {
    if (kProgramNames[i] == name) return static_cast<Program>(i);
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
