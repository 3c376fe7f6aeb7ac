#include "runtime/data/byte_stream.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>

#include "base/diagnostic.h"
#include "runtime/file.h"

namespace gradus::runtime {
namespace {

constexpr std::int64_t kGreatestExpansion = 1040;  // deflate gives at most 1032 bytes for one

}  // namespace

void ByteStream::Close::operator()(gzFile_s* file) const { gzclose(file); }

ByteStream::ByteStream(const std::string& path) : path_(path), stored_(InputFile(path).size()) {
  file_.reset(gzopen(path.c_str(), "rb"));  // reads plain files as they are
  if (file_ == nullptr) throw UserError("E4001", "cannot open the file", {path_});
  gzbuffer(file_.get(), 1u << 17);
}

void ByteStream::fail(const char* code, const std::string& message) const {
  throw UserError(code, fmt::format("byte {}: {}", position_, message), {path_});
}

std::size_t ByteStream::read(std::span<std::byte> bytes) {
  std::size_t count = 0;
  while (count < bytes.size()) {
    const auto wanted = std::min<std::size_t>(bytes.size() - count, std::size_t{1} << 30);
    const int got = gzread(file_.get(), bytes.data() + count, static_cast<unsigned>(wanted));
    if (got <= 0) {
      check_end();
      break;
    }
    count += static_cast<std::size_t>(got);
    position_ += got;
  }
  return count;
}

bool ByteStream::at_end() {
  std::byte more{};
  const std::size_t count = read({&more, 1});
  position_ -= static_cast<std::int64_t>(count);
  return count == 0;
}

bool ByteStream::can_hold(std::int64_t bytes) const {
  const bool plain = gzdirect(file_.get()) != 0;
  return plain ? bytes <= stored_ - position_ : bytes / kGreatestExpansion <= stored_;
}

/// Nothing more came: the end, or a damaged compressed file.
void ByteStream::check_end() const {
  int error = Z_OK;
  const std::string message = gzerror(file_.get(), &error);
  if (error == Z_OK || error == Z_STREAM_END) return;
  fail("E1003", error == Z_BUF_ERROR ? "the compressed data end too early"
                                     : "damaged compressed data (" + message + ")");
}

std::string locate_file(const std::string& directory, const std::string& name) {
  const std::string plain = (std::filesystem::path(directory) / name).string();
  if (!std::filesystem::exists(plain) && std::filesystem::exists(plain + ".gz")) {
    return plain + ".gz";
  }
  return plain;
}

}  // namespace gradus::runtime
