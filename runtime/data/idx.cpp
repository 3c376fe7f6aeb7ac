// IDX: two zero bytes, the element type, the rank, each extent as a big-endian 32-bit number, then
// the elements. zlib reads plain files as they are.

#include <fmt/format.h>
#include <zlib.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "base/diagnostic.h"
#include "runtime/data/source.h"
#include "runtime/file.h"
#include "runtime/memory.h"

namespace gradus::runtime {
namespace {

constexpr unsigned char kUnsignedBytes = 8;
constexpr std::int64_t kGreatestExpansion = 1040;  // deflate gives at most 1032 bytes for one

/// A plain or compressed file read from front to back.
class ByteStream {
 public:
  explicit ByteStream(const std::string& path) : path_(path), stored_(InputFile(path).size()) {
    file_.reset(gzopen(path.c_str(), "rb"));
    if (file_ == nullptr) throw UserError("E4001", "cannot open the file", {path_});
    gzbuffer(file_.get(), 1u << 17);
  }

  [[noreturn]] void fail(const char* code, const std::string& message) const {
    throw UserError(code, fmt::format("byte {}: {}", position_, message), {path_});
  }

  /// Reads up to bytes.size() bytes; fewer only at the end of the data.
  std::size_t read(std::span<std::byte> bytes) {
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

  [[nodiscard]] bool at_end() {
    std::byte more{};
    const std::size_t count = read({&more, 1});
    position_ -= static_cast<std::int64_t>(count);
    return count == 0;
  }

  /// Whether a file of this stored size can hold `bytes` more bytes.
  [[nodiscard]] bool can_hold(std::int64_t bytes) const {
    const bool plain = gzdirect(file_.get()) != 0;
    return plain ? bytes <= stored_ - position_ : bytes / kGreatestExpansion <= stored_;
  }

 private:
  struct Close {
    void operator()(gzFile_s* file) const { gzclose(file); }
  };

  /// Nothing more came: the end, or a damaged compressed file.
  void check_end() const {
    int error = Z_OK;
    const std::string message = gzerror(file_.get(), &error);
    if (error == Z_OK || error == Z_STREAM_END) return;
    fail("E1003", error == Z_BUF_ERROR ? "the compressed data end too early"
                                       : "damaged compressed data (" + message + ")");
  }

  std::string path_;
  std::int64_t stored_ = 0;    // bytes of the file
  std::int64_t position_ = 0;  // bytes read, after decompression
  std::unique_ptr<gzFile_s, Close> file_;
};

Shape read_header(ByteStream& stream, std::int64_t rank) {
  unsigned char magic[4] = {};
  const auto magic_bytes = std::as_writable_bytes(std::span(magic));
  if (stream.read(magic_bytes) < 4) stream.fail("E1002", "the file ends within the magic number");
  if (magic[0] != 0 || magic[1] != 0 || magic[2] != kUnsignedBytes || magic[3] != rank) {
    stream.fail("E1002",
                fmt::format("the magic number is {:02x}{:02x}{:02x}{:02x}, expected "
                            "0000{:02x}{:02x} (unsigned bytes of rank {})",
                            magic[0], magic[1], magic[2], magic[3], kUnsignedBytes, rank, rank));
  }
  Shape shape;
  for (std::int64_t axis = 0; axis < rank; ++axis) {
    unsigned char bytes[4] = {};
    if (stream.read(std::as_writable_bytes(std::span(bytes))) < 4) {
      stream.fail("E1002", "the file ends within its extents");
    }
    shape.push_back((std::int64_t{bytes[0]} << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]);
  }
  return shape;
}

/// Reads unsigned bytes of this rank; nothing is allocated that the file cannot fill.
Tensor read_bytes(const std::string& path, std::int64_t rank) {
  ByteStream stream(path);
  const Shape shape = read_header(stream, rank);
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent == 0) stream.fail("E1002", "an extent is 0 in " + to_string(shape));
    const bool overflows = count > (std::int64_t{1} << 62) / extent;
    if (overflows || !stream.can_hold(count * extent)) {
      stream.fail("E1002", fmt::format("the file is too short for {}", to_string(shape)));
    }
    count *= extent;
  }
  Tensor tensor = allocate_tensor({ElementType::u8, shape}, "file " + path);
  const std::size_t got = stream.read(tensor.bytes);
  if (got < tensor.bytes.size()) {
    stream.fail("E1002", fmt::format("the data end, {} bytes of {} are missing",
                                     tensor.bytes.size() - got, to_string(shape)));
  }
  if (!stream.at_end()) {
    stream.fail("E1002", "there is more data than " + to_string(shape) + " needs");
  }
  return tensor;
}

/// The file `name` in `directory`, as it is or compressed; names the plain one when neither exists.
std::string locate(const std::string& directory, const std::string& name) {
  const std::string plain = (std::filesystem::path(directory) / name).string();
  if (!std::filesystem::exists(plain) && std::filesystem::exists(plain + ".gz")) {
    return plain + ".gz";
  }
  return plain;
}

Dataset read_split(const std::string& directory, const std::string& prefix) {
  const std::string image_path = locate(directory, prefix + "-images-idx3-ubyte");
  const std::string label_path = locate(directory, prefix + "-labels-idx1-ubyte");
  Tensor images = read_bytes(image_path, 3);
  const Tensor bytes = read_bytes(label_path, 1);
  if (bytes.type.shape[0] != images.type.shape[0]) {
    throw UserError("E1004",
                    fmt::format("byte 4: {} labels for the {} images of {}", bytes.type.shape[0],
                                images.type.shape[0], image_path),
                    {label_path});
  }
  Tensor labels = allocate_tensor({ElementType::i32, bytes.type.shape}, "labels");
  const auto values = bytes.as<std::uint8_t>();
  std::copy(values.begin(), values.end(), labels.as<std::int32_t>().begin());
  return {image_path, {{"image", std::move(images)}, {"label", std::move(labels)}}};
}

}  // namespace

DataSplits read_idx(const IdxData& parameters) {
  return {read_split(parameters.directory, "train"), read_split(parameters.directory, "t10k")};
}

}  // namespace gradus::runtime
