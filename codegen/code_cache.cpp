#include "codegen/code_cache.h"

#include <llvm/ADT/StringExtras.h>
#include <llvm/Config/llvm-config.h>
#include <llvm/Support/SHA256.h>

#include <cstring>

#include "codegen/emit_identity.h"
#include "codegen/source_hash.h"  // made by the build

namespace gradus::codegen {
namespace {

constexpr std::string_view kCode = "gradus code 1\n";  // what an entry is, in its first bytes
constexpr std::string_view kChoice = "gradus tune 1\n";
constexpr std::string_view kProgram = "gradus step 1\n";
constexpr std::size_t kKeyDigits = 64;
constexpr std::size_t kDigestBytes = 32;

llvm::StringRef view(std::string_view text) { return {text.data(), text.size()}; }

std::string digest_of(std::string_view bytes) {
  llvm::SHA256 hash;
  hash.update(view(bytes));
  const auto digest = hash.final();
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

/// A part of the key: its length keeps it apart from the next.
void add(llvm::SHA256& hash, std::string_view part) {
  const std::string length = std::to_string(part.size()) + ':';
  hash.update(view(length));
  hash.update(view(part));
}

void add_places(llvm::SHA256& hash, const Kernel& kernel) {
  add(hash, kernel.name);
  add(hash, kernel.provenance);
  for (const Stage& stage : kernel.stages) {
    std::visit([&](const auto& s) { add(hash, s.provenance); }, stage);
  }
}

void append(std::string& bytes, std::int64_t value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::optional<std::int64_t> take(std::string_view& bytes) {
  std::int64_t value = 0;
  if (bytes.size() < sizeof value) return std::nullopt;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}

std::string seal(std::string_view what, const std::string& key, std::string_view rest) {
  return std::string(what) + key + digest_of(key + std::string(rest)) + std::string(rest);
}

/// What was sealed; empty unless it is whole.
std::optional<std::string_view> unseal(std::string_view what, const std::string& key,
                                       std::string_view entry) {
  const std::size_t header = what.size() + kKeyDigits + kDigestBytes;
  if (key.size() != kKeyDigits || entry.size() < header || !entry.starts_with(what) ||
      entry.substr(what.size(), kKeyDigits) != key) {
    return std::nullopt;
  }
  const std::string_view rest = entry.substr(header);
  if (entry.substr(header - kDigestBytes, kDigestBytes) != digest_of(key + std::string(rest))) {
    return std::nullopt;
  }
  return rest;
}

/// The compiler and the processor.
llvm::SHA256 hash_of(const Target& target) {
  llvm::SHA256 hash;
  add(hash, kSourceHash);
  add(hash, LLVM_VERSION_STRING);
  add(hash, target.cpu);
  add(hash, target.features);
  add(hash, std::to_string(target.vector_bits) + (target.fma ? " fma" : "") +
                (target.avx512 ? " avx512" : ""));
  return hash;
}

std::string digits_of(llvm::SHA256& hash) {
  const auto digest = hash.final();
  return llvm::toHex(llvm::ArrayRef<std::uint8_t>(digest.data(), digest.size()),
                     /*LowerCase=*/true);
}

}  // namespace

std::string code_key(std::span<const Kernel* const> kernels,
                     std::span<const std::string* const> symbols, const Target& target,
                     const DebugOptions& debug) {
  llvm::SHA256 hash = hash_of(target);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    add(hash, *symbols[i]);
    add(hash, kernel_identity(*kernels[i]));
    if (debug.lines) add_places(hash, *kernels[i]);
  }
  if (debug.lines) add(hash, debug.directory);
  return digits_of(hash);
}

std::string choice_key(std::span<const Kernel* const> kernels, const Target& target) {
  llvm::SHA256 hash = hash_of(target);
  add(hash, kChoice);
  for (const Kernel* kernel : kernels) add(hash, kernel_identity(*kernel));
  return digits_of(hash);
}

std::string program_key(std::span<const std::string> parts, const Target& target) {
  llvm::SHA256 hash = hash_of(target);
  add(hash, kProgram);
  for (const std::string& part : parts) add(hash, part);
  return digits_of(hash);
}

std::string encode_entry(const std::string& key, const CachedCode& code) {
  std::string rest;
  append(rest, static_cast<std::int64_t>(code.scratch_bytes.size()));
  for (std::int64_t bytes : code.scratch_bytes) append(rest, bytes);
  rest += code.object;
  return seal(kCode, key, rest);
}

std::optional<CachedCode> decode_entry(const std::string& key, std::string_view entry) {
  const std::optional<std::string_view> sealed = unseal(kCode, key, entry);
  if (!sealed) return std::nullopt;
  std::string_view rest = *sealed;
  CachedCode code;
  const std::optional<std::int64_t> count = take(rest);
  if (!count || *count < 0 || static_cast<std::size_t>(*count) > rest.size() / 8) {
    return std::nullopt;
  }
  for (std::int64_t i = 0; i < *count; ++i) code.scratch_bytes.push_back(*take(rest));
  code.object = rest;
  return code;
}

std::string encode_program(const std::string& key, std::string_view program) {
  return seal(kProgram, key, program);
}

std::optional<std::string> decode_program(const std::string& key, std::string_view entry) {
  const std::optional<std::string_view> program = unseal(kProgram, key, entry);
  return program ? std::optional<std::string>(*program) : std::nullopt;
}

std::string encode_choice(const std::string& key, std::string_view choice) {
  return seal(kChoice, key, choice);
}

std::optional<std::string> decode_choice(const std::string& key, std::string_view entry) {
  const std::optional<std::string_view> choice = unseal(kChoice, key, entry);
  return choice ? std::optional<std::string>(*choice) : std::nullopt;
}

}  // namespace gradus::codegen
