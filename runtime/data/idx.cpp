// IDX: two zero bytes, the element type, the rank, each extent as a big-endian 32-bit number, then
// the elements.

#include <fmt/format.h>

#include <vector>

#include "base/diagnostic.h"
#include "runtime/data/byte_stream.h"
#include "runtime/data/source.h"
#include "runtime/memory.h"

namespace gradus::runtime {
namespace {

constexpr unsigned char kUnsignedBytes = 8;
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

Dataset read_split(const std::string& directory, const std::string& prefix) {
  const std::string image_path = locate_file(directory, prefix + "-images-idx3-ubyte");
  const std::string label_path = locate_file(directory, prefix + "-labels-idx1-ubyte");
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
