// The data sources that read files.

#include <gtest/gtest.h>
#include <zlib.h>

#include "../scratch_folder.h"
#include "runtime/data/source.h"
#include "runtime/safetensors.h"

namespace gradus::runtime {
namespace {

using testing::expect_error;
using testing::file_bytes;
using testing::ScratchFolder;

std::string big_endian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string idx(const std::vector<std::uint32_t>& extents, std::size_t bytes) {
  std::string text = {0, 0, 8, static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents) text += big_endian(extent);
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(i * 7);
  return text;
}

std::string compressed(const ScratchFolder& folder, const std::string& bytes) {
  const std::string path = folder.path("scratch.gz");
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  const std::string result = file_bytes(path);
  std::filesystem::remove(path);
  return result;
}

/// Four files of three training and two test images of 4 by 5 pixels.
struct MnistFolder : ScratchFolder {
  std::string train_images = "train-images-idx3-ubyte";
  std::string train_labels = "train-labels-idx1-ubyte";
  MnistFolder() {
    (void)write(train_images, idx({3, 4, 5}, 60));
    (void)write(train_labels, idx({3}, 3));
    (void)write("t10k-images-idx3-ubyte", idx({2, 4, 5}, 40));
    (void)write("t10k-labels-idx1-ubyte", idx({2}, 2));
  }
  [[nodiscard]] DataSplits read() const { return read_idx({path("")}); }
  void expect_rejected(const std::string& name, const std::string& code,
                       const std::string& text) const {
    expect_error([&] { (void)read(); }, code, text, path(name));
  }
};

void expect_example(const DataSplits& data) {
  EXPECT_EQ(data.train.find("image")->tensor.type, (TensorType{ElementType::u8, {3, 4, 5}}));
  EXPECT_EQ(data.train.find("label")->tensor.type, (TensorType{ElementType::i32, {3}}));
  EXPECT_EQ(data.test.find("image")->tensor.type, (TensorType{ElementType::u8, {2, 4, 5}}));
  EXPECT_EQ(data.train.find("image")->tensor.as<std::uint8_t>()[59], (59 * 7) % 256);
  EXPECT_EQ(data.train.find("label")->tensor.as<std::int32_t>()[2], 14);
}

TEST(IdxData, PlainAndCompressedFiles) {
  const MnistFolder folder;
  expect_example(folder.read());
  for (const auto& name : {folder.train_images, folder.train_labels}) {
    (void)folder.write(name + ".gz", compressed(folder, file_bytes(folder.path(name))));
    std::filesystem::remove(folder.path(name));
  }
  expect_example(folder.read());
}

TEST(IdxData, HostileFilesAreNamedWithTheirByte) {
  struct Hostile {
    const char* name;
    std::string bytes;
    const char* text;
  };
  std::string floats = idx({3, 4, 5}, 60);
  floats[2] = 13;
  const std::vector<Hostile> files = {
      {"empty", "", "byte 0: the file ends within the magic"},
      {"cut magic", std::string(3, '\0'), "byte 3: the file ends within the magic"},
      {"text", "hello, world", "byte 4: the magic number is 68656c6c, expected 00000803"},
      {"floats", floats, "the magic number is 00000d03"},
      {"labels", idx({60}, 60), "the magic number is 00000801"},
      {"cut extents", idx({3, 4, 5}, 0).substr(0, 10), "byte 10: the file ends within its extents"},
      {"no data", idx({3, 4, 5}, 0), "too short for [3,4,5]"},
      {"one byte short", idx({3, 4, 5}, 59), "too short for [3,4,5]"},
      {"one byte more", idx({3, 4, 5}, 61), "byte 76: there is more data than [3,4,5] needs"},
      {"huge", idx({0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu}, 60), "too short for [4294967295,"},
      {"zero", idx({0, 0xFFFFFFFFu, 0xFFFFFFFFu}, 60), "an extent is 0"},
      {"zero last", idx({3, 4, 0}, 60), "an extent is 0"},
  };
  const MnistFolder folder;
  for (const Hostile& hostile : files) {
    SCOPED_TRACE(hostile.name);
    (void)folder.write(folder.train_images, hostile.bytes);
    folder.expect_rejected(folder.train_images, "E1002", hostile.text);
    (void)folder.write(folder.train_images + ".gz", compressed(folder, hostile.bytes));
    std::filesystem::remove(folder.path(folder.train_images));
    const std::string text = hostile.text;
    const bool allocates = text.starts_with("too short for [3,4,5]");
    folder.expect_rejected(folder.train_images + ".gz", "E1002", allocates ? "are missing" : text);
    std::filesystem::remove(folder.path(folder.train_images + ".gz"));
  }
}

TEST(IdxData, DamagedCompressionIsNoticed) {
  const MnistFolder folder;
  const std::string name = folder.train_images + ".gz";
  const std::string whole = compressed(folder, file_bytes(folder.path(folder.train_images)));
  std::filesystem::remove(folder.path(folder.train_images));
  (void)folder.write(name, whole.substr(0, whole.size() - 9));
  folder.expect_rejected(name, "E1003", "the compressed data end too early");
  std::string wrong_sum = whole;
  wrong_sum[whole.size() - 6] = static_cast<char>(wrong_sum[whole.size() - 6] ^ 1);
  (void)folder.write(name, wrong_sum);
  folder.expect_rejected(name, "E1003", "damaged compressed data");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    (void)folder.write(name, whole.substr(0, length));
    EXPECT_EQ(testing::errors_of([&] { (void)folder.read(); })[0].where.file, folder.path(name));
  }
}

TEST(IdxData, CountsMustAgree) {
  const MnistFolder folder;
  (void)folder.write(folder.train_labels, idx({4}, 4));
  folder.expect_rejected(folder.train_labels, "E1004", "4 labels for the 3 images");
}

TEST(IdxData, MissingFilesAreNamed) {
  const MnistFolder folder;
  std::filesystem::remove(folder.path(folder.train_labels));
  folder.expect_rejected(folder.train_labels, "E4001", "cannot open");
}

void write_arrays(const std::string& path, const std::vector<DataArray>& arrays) {
  std::vector<SafetensorsItem> items;
  for (const DataArray& array : arrays) {
    items.push_back({array.name, array.tensor.type, array.tensor.bytes});
  }
  write_safetensors(path, items, {});
}

TEST(TensorsData, ReadsOneArrayPerInput) {
  const ScratchFolder folder;
  Tensor x(TensorType{ElementType::f32, {3, 2}});
  x.as<float>()[5] = 7;
  const Tensor y(TensorType{ElementType::i32, {3}});
  write_arrays(folder.path("train"), {{"x", x}, {"y", y}});
  const DataSplits data = load_data(TensorsData{folder.path("train"), ""});
  EXPECT_EQ(data.train.examples(), 3);
  EXPECT_EQ(data.train.find("x")->tensor, x);
  EXPECT_EQ(data.train.find("y")->tensor, y);
  EXPECT_EQ(data.test.examples(), 0);
  EXPECT_EQ(load_data(TensorsData{folder.path("train"), folder.path("train")}).test.examples(), 3);
}

TEST(TensorsData, LeadingExtentsMustAgree) {
  const ScratchFolder folder;
  const std::string path = folder.path("data");
  const auto rejected = [&](const std::vector<TensorType>& types, const std::string& text,
                            const std::string& code = "E1004") {
    std::vector<DataArray> arrays;
    for (const TensorType& type : types) {
      arrays.push_back({"array" + std::to_string(arrays.size()), Tensor(type)});
    }
    write_arrays(path, arrays);
    expect_error([&] { (void)read_tensors({path, ""}); }, code, text, path);
  };
  rejected({}, "holds no array");
  rejected({{ElementType::f32, {}}}, "'array0' is a scalar");
  rejected({{ElementType::f32, {0, 2}}}, "array 'array0' is f32[0,2]", "E1011");
  rejected({{ElementType::f32, {3}}, {ElementType::f32, {4}}},
           "f32[3] and array 'array1' is f32[4]");
}

}  // namespace
}  // namespace gradus::runtime
