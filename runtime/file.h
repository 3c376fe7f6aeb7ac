#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace gradus::runtime {

/// A regular file open for reading. Every error names the file.
class InputFile {
 public:
  /// Throws UserError E4001 when there is no such regular file or it may not be read.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  /// Fills `bytes` from byte `offset` on; throws UserError E4002 when the file ends before.
  void read(std::int64_t offset, std::span<std::byte> bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

/// A file that appears under its name only when it is complete and on disk: written under a
/// temporary name in the same directory, synced, renamed. Without `commit` nothing remains.
class OutputFile {
 public:
  /// Throws UserError E4003, as do the other functions.
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(const std::string& text);
  void commit();

 private:
  [[noreturn]] void fail(const char* action) const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

/// The whole of a text file; throws as InputFile does.
[[nodiscard]] std::string read_text(const std::string& path);

}  // namespace gradus::runtime
