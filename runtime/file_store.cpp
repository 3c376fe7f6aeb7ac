#include "runtime/file_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

namespace gradus::runtime {
namespace {

namespace fs = std::filesystem;

/// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int number() const { return number_; }
  [[nodiscard]] bool open() const { return number_ >= 0; }

 private:
  int number_;
};

constexpr mode_t kOthers = S_IRWXG | S_IRWXO;
constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;

bool is_own_folder(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
         status.st_uid == geteuid() && (status.st_mode & kOthers) == 0;
}

bool is_own_file(int descriptor, struct stat& status) {
  return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
         (status.st_mode & kOthersWrite) == 0;
}

bool write_all(int descriptor, const std::string& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = write(descriptor, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    done += static_cast<std::size_t>(count);
  }
  return true;
}

}  // namespace

bool FileStore::make_folder() const {
  std::error_code error;
  const fs::path path(folder_);
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  mkdir(folder_.c_str(), S_IRWXU);
  return is_own_folder(folder_);
}

std::optional<std::string> FileStore::load(const std::string& key) const {
  if (!is_own_folder(folder_)) return std::nullopt;
  const Descriptor file(open(path_of(key).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status{};
  if (!file.open() || !is_own_file(file.number(), status) || status.st_size > most_bytes_) {
    return std::nullopt;
  }
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = read(file.number(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return std::nullopt;
    done += static_cast<std::size_t>(count);
  }
  futimens(file.number(), nullptr);  // used now
  return bytes;
}

bool FileStore::store(const std::string& key, const std::string& bytes) const {
  const auto size = static_cast<std::int64_t>(bytes.size());
  if (size > most_bytes_ || !make_folder()) return false;
  std::int64_t total = size;
  const std::vector<Entry> known = entries();
  for (const Entry& entry : known) total += entry.bytes;
  for (const Entry& entry : known) {
    if (total <= most_bytes_) break;
    remove(entry.key);
    total -= entry.bytes;
  }
  std::string temporary = path_of(".part-XXXXXX");
  const Descriptor file(mkostemp(temporary.data(), O_CLOEXEC));
  if (!file.open()) return false;
  if (write_all(file.number(), bytes) && rename(temporary.c_str(), path_of(key).c_str()) == 0) {
    return true;
  }
  unlink(temporary.c_str());
  return false;
}

std::vector<FileStore::Entry> FileStore::entries() const {
  std::vector<Entry> result;
  if (!is_own_folder(folder_)) return result;
  std::error_code error;
  for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
    struct stat status{};
    if (lstat(at->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    constexpr std::int64_t kNanoseconds = 1'000'000'000;
    result.push_back({at->path().filename().string(), status.st_size,
                      status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec});
  }
  std::ranges::sort(result, [](const Entry& a, const Entry& b) {
    return std::pair(a.used, a.key) < std::pair(b.used, b.key);
  });
  return result;
}

void FileStore::remove(const std::string& key) const { unlink(path_of(key).c_str()); }

}  // namespace gradus::runtime
