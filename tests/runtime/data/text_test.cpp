#include <gtest/gtest.h>

#include "../scratch_folder.h"
#include "runtime/data/source.h"

namespace gradus::runtime {
namespace {

using testing::expect_error;
using testing::ScratchFolder;

std::vector<std::int32_t> example(const Dataset& data, const std::string& name, std::int64_t i) {
  const Tensor& tensor = data.find(name)->tensor;
  const auto length = static_cast<std::size_t>(tensor.type.shape[1]);
  const auto all = tensor.as<std::int32_t>().subspan(static_cast<std::size_t>(i) * length, length);
  return {all.begin(), all.end()};
}

TEST(TextSource, WindowsOfCharactersAreSplitByPosition) {
  const ScratchFolder folder;
  // Ten characters for training, five for the test.
  const std::string path = folder.write("text", "abcabcßcabaaäßc");
  const DataSplits splits = read_text({path, 3, 0, 1.0 / 3, "characters"});
  EXPECT_EQ(splits.vocabulary, (Vocabulary{"characters", {'a', 'b', 'c', 0xDF, 0xE4}}));
  EXPECT_EQ(splits.train.examples(), 3);
  EXPECT_EQ(example(splits.train, "text", 2), (std::vector<std::int32_t>{3, 2, 0}));
  EXPECT_EQ(example(splits.train, "next", 2), (std::vector<std::int32_t>{2, 0, 1}));
  EXPECT_EQ(splits.test.examples(), 1);
  EXPECT_EQ(example(splits.test, "text", 0), (std::vector<std::int32_t>{0, 0, 4}));
  EXPECT_EQ(example(splits.test, "next", 0), (std::vector<std::int32_t>{0, 4, 3}));
}

TEST(TextSource, WindowsOverlapByTheStride) {
  const ScratchFolder folder;
  const std::string path = folder.write("text", "01234567");
  const DataSplits splits = read_text({path, 4, 2, 0, "bytes"});
  EXPECT_EQ(splits.vocabulary, (Vocabulary{"bytes", {}}));
  EXPECT_EQ(splits.train.examples(), 2);
  EXPECT_EQ(example(splits.train, "text", 1), (std::vector<std::int32_t>{'2', '3', '4', '5'}));
  EXPECT_EQ(example(splits.train, "next", 1), (std::vector<std::int32_t>{'3', '4', '5', '6'}));
  EXPECT_TRUE(splits.test.arrays.empty());
}

TEST(TextSource, SaysWhatIsWrong) {
  const ScratchFolder folder;
  const std::string text = folder.write("text", "abc");
  expect_error([&] { (void)read_text({text, 3, 0, 0, "characters"}); }, "E1008",
               "3 tokens for training", text);
  expect_error([&] { (void)read_text({text, 1, 0, 0, "words"}); }, "E1007", "\"words\"", "");
  expect_error([&] { (void)read_text({text, 0, 0, 0, "bytes"}); }, "E1007", "length is 0", "");
  // Cut short, broken, overlong (of two, three and four bytes), a half of a pair, beyond the last.
  for (const char* bytes :
       {"ab\xC3", "ab\xC3z", "ab\x80", "ab\xF8zzzz", "ab\xC1\xBF", "ab\xE0\x9F\xBF",
        "ab\xF0\x8F\xBF\xBF", "ab\xED\xA0\x80", "ab\xF4\x90\x80\x80"}) {
    const std::string path = folder.write("bytes", bytes);
    expect_error([&] { (void)read_text({path, 1, 0, 0, "characters"}); }, "E1002", "byte 2", path);
  }
}

}  // namespace
}  // namespace gradus::runtime
