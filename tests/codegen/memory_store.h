#pragma once

// A store of compiled code that keeps its entries in memory, and how entries come to harm.

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "base/philox.h"
#include "codegen/code_cache.h"

namespace gradus::codegen {

class MemoryStore : public CodeStore {
 public:
  std::optional<std::string> load(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    const auto entry = entries.find(key);
    return entry == entries.end() ? std::nullopt : std::optional(entry->second);
  }
  void store(const std::string& key, const std::string& entry) override {
    const std::lock_guard lock(mutex_);
    entries[key] = entry;
  }

  std::map<std::string, std::string> entries;

 private:
  std::mutex mutex_;
};

/// The entry cut off, with something behind it, or with a bit that is another: never as it was.
inline std::string damaged(std::string entry, std::uint32_t seed) {
  const auto words = philox4x32({seed, 0, 0, 0}, {11, 12});
  switch (words[0] % 4) {
    case 0:
      entry.resize(words[1] % entry.size());
      break;
    case 1:
      entry.append(1 + words[1] % 100, static_cast<char>(words[2]));
      break;
    default:
      entry[words[1] % entry.size()] ^= static_cast<char>(1u << (words[2] % 8));
  }
  return entry;
}

}  // namespace gradus::codegen
