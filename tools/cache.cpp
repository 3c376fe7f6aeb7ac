#include "tools/cache.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tools/commands.h"

namespace gradus::tools {
namespace {

constexpr std::int64_t kMostBytes = 256 << 20;

class FolderStore : public codegen::CodeStore {
 public:
  explicit FolderStore(std::string folder) : files_(std::move(folder), kMostBytes) {}
  std::optional<std::string> load(const std::string& key) override { return files_.load(key); }
  void store(const std::string& key, const std::string& entry) override {
    (void)files_.store(key, entry);  // without it the next run compiles again
  }

 private:
  runtime::FileStore files_;
};

struct CacheOptions {
  std::string action = "stat";
  bool json = false;
};

/// What an action did: every number of it has a name.
using Report = std::vector<std::pair<std::string, std::int64_t>>;

Report stat(const runtime::FileStore& files) {
  std::int64_t bytes = 0;
  const auto entries = files.entries();
  for (const runtime::FileStore::Entry& entry : entries) bytes += entry.bytes;
  return {{"entries", static_cast<std::int64_t>(entries.size())},
          {"bytes", bytes},
          {"most_bytes", kMostBytes}};
}

Report clear(const runtime::FileStore& files) {
  const auto entries = files.entries();
  for (const runtime::FileStore::Entry& entry : entries) files.remove(entry.key);
  return {{"removed", static_cast<std::int64_t>(entries.size())}};
}

Report verify(const runtime::FileStore& files) {
  std::int64_t sound = 0, removed = 0;
  for (const runtime::FileStore::Entry& entry : files.entries()) {
    const std::optional<std::string> bytes = files.load(entry.key);
    if (bytes &&
        (codegen::decode_entry(entry.key, *bytes) || codegen::decode_program(entry.key, *bytes) ||
         codegen::decode_choice(entry.key, *bytes))) {
      ++sound;
    } else {
      files.remove(entry.key);
      ++removed;
    }
  }
  return {{"sound", sound}, {"removed", removed}};
}

int cache(const CacheOptions& options) {
  const std::string folder = cache_folder();
  const runtime::FileStore files(folder, kMostBytes);
  const Report report = folder.empty()               ? Report{}
                        : options.action == "clear"  ? clear(files)
                        : options.action == "verify" ? verify(files)
                                                     : stat(files);
  if (options.json) {
    nlohmann::ordered_json json{{"folder", folder}};
    for (const auto& [name, value] : report) json[name] = value;
    print_json(json);
    return 0;
  }
  std::cout << (folder.empty() ? "no cache: GRADUS_CACHE is empty or there is no home" : folder)
            << '\n';
  for (const auto& [name, value] : report) std::cout << fmt::format("{:<12} {}\n", name, value);
  return 0;
}

}  // namespace

std::string cache_folder() {
  if (const char* own = std::getenv("GRADUS_CACHE")) return own;
  if (const char* caches = std::getenv("XDG_CACHE_HOME"); caches && *caches == '/') {
    return std::string(caches) + "/gradus";
  }
  const char* home = std::getenv("HOME");
  return home && *home == '/' ? std::string(home) + "/.cache/gradus" : "";
}

std::shared_ptr<codegen::CodeStore> open_code_store() {
  const std::string folder = cache_folder();
  if (folder.empty()) return nullptr;
  return std::make_shared<FolderStore>(folder);
}

void add_cache(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("cache", "Compiled code and measured choices kept between runs");
  command->footer("Example: gradus cache stat");
  auto options = std::make_shared<CacheOptions>();
  command
      ->add_option("action", options->action,
                   "stat, clear, or verify, which removes entries that are not whole")
      ->check(CLI::IsMember({"stat", "clear", "verify"}));
  command->add_flag("--json", options->json, "Machine-readable output on stdout");
  command->callback([options, &status] { status = cache(*options); });
}

}  // namespace gradus::tools
