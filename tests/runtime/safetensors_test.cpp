#include "runtime/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "scratch_folder.h"

namespace gradus::runtime {
namespace {

using testing::errors_of;
using testing::expect_error;
using testing::file_bytes;
using testing::ScratchFolder;

/// A file by hand: length, header, data of `bytes` zeros.
std::string file_of(const std::string& header, std::size_t bytes) {
  const std::uint64_t length = header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return text + header + std::string(bytes, '\0');
}

Tensor pattern(const TensorType& type) {
  Tensor tensor(type);
  for (std::size_t i = 0; i < tensor.bytes.size(); ++i) {
    tensor.bytes[i] = static_cast<std::byte>(type.element == ElementType::boolean ? i % 2 : i % 60);
  }
  return tensor;
}

TEST(Safetensors, EveryElementTypeComesBack) {
  const ScratchFolder folder;
  const std::string path = folder.path("all.safetensors");
  std::vector<Tensor> tensors;
  std::vector<SafetensorsItem> items;
  for (const ElementType element : kElementTypes) {
    for (const Shape& shape : {Shape{}, Shape{3}, Shape{2, 0}, Shape{2, 5, 1}}) {
      tensors.push_back(pattern({element, shape}));
    }
  }
  for (const Tensor& tensor : tensors)
    items.push_back({to_string(tensor.type), tensor.type, tensor.bytes});
  write_safetensors(path, items, {{"written by", "a test"}, {"empty", ""}});
  EXPECT_EQ(folder.files(), 1);  // no temporary file remains
  const SafetensorsReader reader(path);
  EXPECT_EQ(reader.entries().size(), tensors.size());
  EXPECT_EQ(reader.metadata().at("written by"), "a test");
  EXPECT_EQ(reader.metadata().at("empty"), "");
  for (const Tensor& tensor : tensors) {
    const SafetensorsEntry* entry = reader.find(to_string(tensor.type));
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->offset % byte_size(tensor.type.element), 0);
    EXPECT_EQ(reader.read(*entry), tensor);
  }
  EXPECT_EQ(reader.find("other"), nullptr);
}

TEST(Safetensors, BytesDoNotDependOnTheOrderGiven) {
  const ScratchFolder folder;
  const Tensor a = pattern({ElementType::f32, {4}});
  const Tensor b = pattern({ElementType::u8, {3}});
  write_safetensors(folder.path("1"), {{"a", a.type, a.bytes}, {"b", b.type, b.bytes}}, {});
  write_safetensors(folder.path("2"), {{"b", b.type, b.bytes}, {"a", a.type, a.bytes}}, {});
  EXPECT_EQ(file_bytes(folder.path("1")), file_bytes(folder.path("2")));
  EXPECT_EQ(file_bytes(folder.path("1")).size() % 64, 19 % 64u);  // data begin on a cache line
}

TEST(Safetensors, ReadsAFileWrittenByHand) {
  const ScratchFolder folder;
  std::string bytes = file_of(
      R"({"b":{"dtype":"I32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[],)"
      R"("data_offsets":[8,9]},"__metadata__":{"k":"v"}}   )",
      9);
  bytes[bytes.size() - 9] = 5;
  bytes[bytes.size() - 1] = 7;
  const SafetensorsReader reader(folder.write("hand", bytes));
  EXPECT_EQ(reader.read(*reader.find("b")).as<std::int32_t>()[0], 5);
  EXPECT_EQ(reader.read(*reader.find("a")).as<std::uint8_t>()[0], 7);
  EXPECT_EQ(reader.metadata().at("k"), "v");
  EXPECT_TRUE(SafetensorsReader(folder.write("empty", file_of("{}", 0))).entries().empty());
}

TEST(Safetensors, WritesTheCanonicalNaN) {
  const ScratchFolder folder;
  Tensor tensor(TensorType{ElementType::f32, {3}});
  tensor.as<std::uint32_t>()[0] = 0xFFC12345u;
  tensor.as<float>()[1] = -0.0f;
  tensor.as<float>()[2] = std::numeric_limits<float>::infinity();
  Tensor wide(TensorType{ElementType::f64, {1}});
  wide.as<std::uint64_t>()[0] = 0xFFF0000000000001u;
  write_safetensors(folder.path("nan"),
                    {{"t", tensor.type, tensor.bytes}, {"w", wide.type, wide.bytes}}, {});
  const SafetensorsReader reader(folder.path("nan"));
  const Tensor read = reader.read(*reader.find("t"));
  EXPECT_EQ(read.as<std::uint32_t>()[0], 0x7FC00000u);
  EXPECT_EQ(read.as<std::uint32_t>()[1], 0x80000000u);
  EXPECT_EQ(read.as<std::uint32_t>()[2], 0x7F800000u);
  EXPECT_EQ(reader.read(*reader.find("w")).as<std::uint64_t>()[0], 0x7FF8000000000000u);
}

struct Hostile {
  const char* name;
  std::string bytes;
  const char* code;
  const char* text;
};

std::vector<Hostile> hostile_files() {
  const auto entry = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  const std::string two = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)";
  std::string huge = file_of("{}", 0);
  huge[6] = 1;
  std::string beyond = file_of("{}", 0);
  beyond[0] = 3;
  std::string open = "{";
  for (int i = 0; i < 100000; ++i) open += R"("a":{)";
  return {
      {"empty", "", "E1001", "byte 0: the file ends"},
      {"short", "1234567", "E1001", "byte 7: the file ends"},
      {"huge header", huge, "E1001", "byte 0: a header of 281474976710658 bytes"},
      {"header beyond the file", beyond, "E1001", "byte 0: a header of 3 bytes"},
      {"no header", file_of("", 0), "E1001", "byte 8: the header does not begin with {"},
      {"leading space", file_of(" {}", 0), "E1001", "byte 8: the header does not begin with {"},
      {"array", file_of("[]", 0), "E1001", "byte 8: the header does not begin with {"},
      {"not json", file_of(R"({"a":})", 0), "E1001", "byte 13: the header is no valid JSON"},
      {"cut json", file_of(R"({"a")", 0), "E1001", "the header is no valid JSON"},
      {"two values", file_of("{}{}", 0), "E1001", "byte 10: the header is no valid JSON"},
      {"bad utf-8", file_of("{\"\xff\":1}", 0), "E1001", "the header is no valid JSON"},
      {"huge number", file_of(R"({"a":1e9999})", 0), "E1001", "the header is no valid JSON"},
      {"deep", file_of(open, 0), "E1001", "nested too deep"},
      {"duplicate", file_of(two + R"("a":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})", 4),
       "E1001", "'a' twice"},
      {"duplicate member",
       file_of(R"({"t":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0), "E1001",
       "'dtype' twice"},
      {"no object", file_of(R"({"t":3})", 0), "E1001", "tensor 't': not exactly the members"},
      {"member missing", file_of(R"({"t":{"dtype":"U8","shape":[0]}})", 0), "E1001",
       "not exactly the members"},
      {"member too many",
       file_of(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", 0), "E1001",
       "not exactly the members"},
      {"dtype number", file_of(R"({"t":{"dtype":8,"shape":[0],"data_offsets":[0,0]}})", 0), "E1001",
       "dtype is no string"},
      {"dtype unknown", file_of(entry("BF16", "[1]", "[0,2]"), 2), "E1002", "BF16"},
      {"shape object", file_of(entry("U8", "{}", "[0,1]"), 1), "E1001", "shape is no list"},
      {"shape negative", file_of(entry("U8", "[-1]", "[0,1]"), 1), "E1001", "shape is no list"},
      {"shape fraction", file_of(entry("U8", "[1.0]", "[0,1]"), 1), "E1001", "shape is no list"},
      {"shape too large", file_of(entry("U8", "[18446744073709551615]", "[0,1]"), 1), "E1001",
       "shape is no list"},
      {"shape overflows", file_of(entry("F32", "[4294967296,4294967296]", "[0,0]"), 0), "E1001",
       "data_offsets give 0 bytes"},
      {"shape overflows to zero",
       file_of(entry("U8", "[0,4611686018427387904,4611686018427387904]", "[0,0]"), 0), "E1001",
       "data_offsets give 0 bytes"},
      {"size differs", file_of(entry("F32", "[3]", "[0,8]"), 8), "E1001",
       "tensor 't': f32[3], but data_offsets give 8 bytes"},
      {"one offset", file_of(entry("U8", "[1]", "[1]"), 1), "E1001", "not two sizes"},
      {"negative offset", file_of(entry("U8", "[1]", "[-1,0]"), 1), "E1001", "not two sizes"},
      {"offsets reversed", file_of(entry("U8", "[1]", "[1,0]"), 1), "E1001", "1 to 0"},
      {"offsets beyond the end", file_of(entry("U8", "[9]", "[0,9]"), 8), "E1001",
       "0 to 9 in 8 bytes"},
      {"greatest offsets",
       file_of(entry("U8", "[0]", "[9223372036854775807,9223372036854775807]"), 0), "E1001",
       "in 0 bytes of data"},
      {"overlap", file_of(two + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6),
       "E1001", "overlapping data before tensor 'b'"},
      {"same place", file_of(two + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4),
       "E1001", "overlapping data"},
      {"gap", file_of(two + R"("b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})", 7), "E1001",
       "unused bytes before tensor 'b'"},
      {"gap at the front", file_of(entry("U8", "[1]", "[1,2]"), 2), "E1001", "unused bytes"},
      {"truncated data", file_of(entry("U8", "[4]", "[0,4]"), 3), "E1001", "0 to 4 in 3 bytes"},
      {"data left over", file_of(entry("U8", "[4]", "[0,4]"), 5), "E1001",
       "unused bytes at the end"},
      {"metadata list", file_of(R"({"__metadata__":[]})", 0), "E1001", "__metadata__ is no object"},
      {"metadata number", file_of(R"({"__metadata__":{"k":1}})", 0), "E1001",
       "metadata 'k' is no string"},
  };
}

TEST(Safetensors, HostileFilesAreNamedWithTheirByte) {
  const ScratchFolder folder;
  for (const Hostile& hostile : hostile_files()) {
    SCOPED_TRACE(hostile.name);
    const std::string path = folder.write("hostile", hostile.bytes);
    expect_error([&] { SafetensorsReader reader(path); }, hostile.code, hostile.text, path);
  }
}

TEST(Safetensors, EveryTruncationAndEveryFlippedByteIsRefusedOrReadSafely) {
  const ScratchFolder folder;
  const Tensor tensor = pattern({ElementType::f32, {2, 3}});
  write_safetensors(folder.path("whole"), {{"t", tensor.type, tensor.bytes}}, {{"k", "v"}});
  const std::string whole = file_bytes(folder.path("whole"));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::string path = folder.write("cut", whole.substr(0, length));
    EXPECT_EQ(errors_of([&] { SafetensorsReader reader(path); })[0].code, "E1001");
  }
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const char flip : {'\x01', '\x80'}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      const std::string path = folder.write("flipped", bytes);
      try {
        const SafetensorsReader reader(path);
        for (const SafetensorsEntry& entry : reader.entries()) (void)reader.read(entry);
      } catch (const UserError& error) {
        EXPECT_EQ(error.error_class(), ErrorClass::data);
      }
    }
  }
}

TEST(Safetensors, BooleansAreZeroOrOne) {
  const ScratchFolder folder;
  std::string bytes = file_of(R"({"t":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", 3);
  bytes.back() = 2;
  const std::string path = folder.write("boolean", bytes);
  const SafetensorsReader reader(path);
  expect_error([&] { (void)reader.read(reader.entries()[0]); }, "E1001",
               "byte " + std::to_string(bytes.size() - 1), path);
}

TEST(Safetensors, MissingFilesAndFoldersAreNamed) {
  const ScratchFolder folder;
  expect_error([&] { SafetensorsReader reader(folder.path("none")); }, "E4001", "cannot open",
               folder.path("none"));
  expect_error([&] { SafetensorsReader reader(folder.path("")); }, "E4001", "not a regular file",
               folder.path(""));
  expect_error([&] { write_safetensors(folder.path("no/such/folder"), {}, {}); }, "E4003",
               "cannot create", folder.path("no/such/folder"));
}

TEST(OutputFile, LeavesTheOldFileUntilItIsComplete) {
  const ScratchFolder folder;
  const std::string path = folder.write("file", "old");
  {
    OutputFile file(path);
    file.write(std::string("new, but not committed"));
  }
  EXPECT_EQ(file_bytes(path), "old");
  EXPECT_EQ(folder.files(), 1);
  {
    OutputFile file(path);
    file.write(std::string("new"));
    file.commit();
  }
  EXPECT_EQ(file_bytes(path), "new");
  EXPECT_EQ(folder.files(), 1);
}

}  // namespace
}  // namespace gradus::runtime
