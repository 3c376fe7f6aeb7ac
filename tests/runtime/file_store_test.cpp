#include "runtime/file_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "scratch_folder.h"

namespace gradus::runtime {
namespace {

namespace fs = std::filesystem;
using testing::ScratchFolder;

std::vector<std::string> keys_of(const FileStore& store) {
  std::vector<std::string> keys;
  for (const FileStore::Entry& entry : store.entries()) keys.push_back(entry.key);
  return keys;
}

TEST(FileStore, KeepsWhatItIsGiven) {
  const ScratchFolder folder;
  const FileStore store(folder.path("a/b/cache"), 1000);
  EXPECT_EQ(store.load("x"), std::nullopt);
  EXPECT_TRUE(store.entries().empty());
  const std::string bytes("all\0bytes", 9);
  EXPECT_TRUE(store.store("x", bytes));
  EXPECT_TRUE(store.store("empty", ""));
  EXPECT_EQ(store.load("x"), bytes);
  EXPECT_EQ(store.load("empty"), "");
  EXPECT_TRUE(store.store("x", "other"));
  EXPECT_EQ(store.load("x"), "other");
  store.remove("x");
  EXPECT_EQ(store.load("x"), std::nullopt);
  EXPECT_EQ(keys_of(store), std::vector<std::string>{"empty"});
}

TEST(FileStore, DropsWhatHasNotBeenUsedForLongest) {
  const ScratchFolder folder;
  const FileStore store(folder.path("cache"), 100);
  for (const char* key : {"a", "b", "c"}) EXPECT_TRUE(store.store(key, std::string(30, 'x')));
  usleep(20'000);
  EXPECT_TRUE(store.load("a"));
  usleep(20'000);
  EXPECT_TRUE(store.store("d", std::string(60, 'x')));
  EXPECT_EQ(keys_of(store), (std::vector<std::string>{"a", "d"}));
  EXPECT_FALSE(store.store("e", std::string(101, 'x')));
}

TEST(FileStore, ReadsNothingThatOthersMayChange) {
  const ScratchFolder folder;
  const std::string path = folder.path("cache");
  const FileStore store(path, 1000);
  const std::string file = path + "/x";
  ASSERT_TRUE(store.store("x", "bytes"));
  for (mode_t mode : {0620, 0602, 0666}) {
    chmod(file.c_str(), mode);
    EXPECT_EQ(store.load("x"), std::nullopt) << std::oct << mode;
  }
  chmod(file.c_str(), 0600);
  EXPECT_EQ(store.load("x"), "bytes");
  for (mode_t mode : {0755, 0770, 0777}) {
    chmod(path.c_str(), mode);
    EXPECT_EQ(store.load("x"), std::nullopt) << std::oct << mode;
    EXPECT_FALSE(store.store("y", "bytes"));
  }
  chmod(path.c_str(), 0700);
  EXPECT_EQ(store.load("x"), "bytes");
  fs::create_symlink(file, path + "/link");
  EXPECT_EQ(store.load("link"), std::nullopt);
  fs::create_directory(path + "/folder");
  EXPECT_EQ(store.load("folder"), std::nullopt);
  fs::create_directory_symlink(path, folder.path("elsewhere"));
  EXPECT_EQ(FileStore(folder.path("elsewhere"), 1000).load("x"), std::nullopt);
}

TEST(FileStore, ReadsNothingOfOtherUsers) {
  if (geteuid() != 0) GTEST_SKIP() << "only the superuser can give files away";
  const ScratchFolder folder;
  const std::string path = folder.path("cache");
  const FileStore store(path, 1000);
  ASSERT_TRUE(store.store("x", "bytes"));
  ASSERT_EQ(chown((path + "/x").c_str(), 1, 1), 0);
  EXPECT_EQ(store.load("x"), std::nullopt);
  ASSERT_EQ(chown((path + "/x").c_str(), 0, 0), 0);
  EXPECT_EQ(store.load("x"), "bytes");
  ASSERT_EQ(chown(path.c_str(), 1, 1), 0);
  EXPECT_EQ(store.load("x"), std::nullopt);
}

TEST(FileStore, AFolderThatCannotBeIsNoError) {
  const ScratchFolder folder;
  std::ofstream(folder.path("file")) << "in the way";
  const FileStore store(folder.path("file/cache"), 1000);
  EXPECT_FALSE(store.store("x", "bytes"));
  EXPECT_EQ(store.load("x"), std::nullopt);
  EXPECT_TRUE(store.entries().empty());
}

}  // namespace
}  // namespace gradus::runtime
