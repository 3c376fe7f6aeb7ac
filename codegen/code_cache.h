#pragma once

// Object code and measured choices kept between runs. An entry says what it was made from and
// proves that it is whole; one that does not is never used.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/debug_options.h"
#include "codegen/kernel.h"
#include "codegen/target.h"

namespace gradus::codegen {

/// Where entries are kept. Called from several threads.
class CodeStore {
 public:
  virtual ~CodeStore() = default;
  [[nodiscard]] virtual std::optional<std::string> load(const std::string& key) = 0;
  virtual void store(const std::string& key, const std::string& entry) = 0;
};

/// One module of kernels.
struct CachedCode {
  std::vector<std::int64_t> scratch_bytes;  // by kernel
  std::string object;
};

/// SHA-256, in hexadecimal digits, of everything that the module's code depends on: the kernels and
/// their symbols, the processor with its features, LLVM, and the sources of this compiler; with
/// debug information also the kernels' names and places.
[[nodiscard]] std::string code_key(std::span<const Kernel* const> kernels,
                                   std::span<const std::string* const> symbols,
                                   const Target& target, const DebugOptions& debug = {});

/// SHA-256, in hexadecimal digits, of everything that the best schedule of some kernels depends on:
/// the kernels as the model schedules them, the processor and the sources of this compiler.
[[nodiscard]] std::string choice_key(std::span<const Kernel* const> kernels, const Target& target);

/// SHA-256, in hexadecimal digits, of the parts, the processor and the sources of this compiler.
[[nodiscard]] std::string program_key(std::span<const std::string> parts, const Target& target);

/// The bytes of an entry: what it is, its key, SHA-256 of the rest, the rest.
[[nodiscard]] std::string encode_entry(const std::string& key, const CachedCode& code);
/// Empty unless `entry` is a whole entry of `key`.
[[nodiscard]] std::optional<CachedCode> decode_entry(const std::string& key,
                                                     std::string_view entry);

/// The same for a program (codegen/stored_program.h).
[[nodiscard]] std::string encode_program(const std::string& key, std::string_view program);
[[nodiscard]] std::optional<std::string> decode_program(const std::string& key,
                                                        std::string_view entry);

/// The same for the text of a choice.
[[nodiscard]] std::string encode_choice(const std::string& key, std::string_view choice);
[[nodiscard]] std::optional<std::string> decode_choice(const std::string& key,
                                                       std::string_view entry);

}  // namespace gradus::codegen
