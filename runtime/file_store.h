#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace gradus::runtime {

/// Files under keys in a folder of the user's own, for what can be made again: nothing here throws,
/// and what is doubtful counts as absent. A folder or file that others own or may write to is never
/// read.
class FileStore {
 public:
  /// Keeps at most `most_bytes`; the entries that have not been used for longest go first.
  FileStore(std::string folder, std::int64_t most_bytes)
      : folder_(std::move(folder)), most_bytes_(most_bytes) {}

  [[nodiscard]] const std::string& folder() const { return folder_; }

  /// The bytes stored under `key`, which is a file name.
  [[nodiscard]] std::optional<std::string> load(const std::string& key) const;
  /// Appears under its key only when complete. False where it could not be written.
  bool store(const std::string& key, const std::string& bytes) const;

  struct Entry {
    std::string key;
    std::int64_t bytes = 0;
    std::int64_t used = 0;  // when, in nanoseconds since 1970
  };
  /// All entries, those not used for longest first.
  [[nodiscard]] std::vector<Entry> entries() const;
  void remove(const std::string& key) const;

 private:
  [[nodiscard]] bool make_folder() const;
  [[nodiscard]] std::string path_of(const std::string& key) const { return folder_ + '/' + key; }

  std::string folder_;
  std::int64_t most_bytes_;
};

}  // namespace gradus::runtime
