#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

struct gzFile_s;

namespace gradus::runtime {

/// A plain or gzip-compressed file read from front to back. Errors are UserErrors that name the
/// file and the byte, after decompression: E4001 when it cannot be opened, E1003 when compressed
/// data are damaged.
class ByteStream {
 public:
  explicit ByteStream(const std::string& path);

  [[noreturn]] void fail(const char* code, const std::string& message) const;

  /// Reads up to bytes.size() bytes; fewer only at the end of the data.
  std::size_t read(std::span<std::byte> bytes);

  [[nodiscard]] bool at_end();

  /// Whether a file of this stored size can hold `bytes` more bytes.
  [[nodiscard]] bool can_hold(std::int64_t bytes) const;

 private:
  struct Close {
    void operator()(gzFile_s* file) const;
  };
  void check_end() const;

  std::string path_;
  std::int64_t stored_ = 0;    // bytes of the file
  std::int64_t position_ = 0;  // bytes read, after decompression
  std::unique_ptr<gzFile_s, Close> file_;
};

/// The file `name` in `directory`, as it is or with ".gz"; the plain path when neither exists.
[[nodiscard]] std::string locate_file(const std::string& directory, const std::string& name);

}  // namespace gradus::runtime
