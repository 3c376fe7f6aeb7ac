#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/diagnostic.h"

namespace gradus::runtime::testing {

/// A folder of this test's own, removed at its end.
class ScratchFolder {
 public:
  ScratchFolder() {
    const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::temp_directory_path() / ("gradus_" + std::to_string(getpid()) + "_" +
                                                      test->test_suite_name() + "_" + test->name());
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  ~ScratchFolder() { std::filesystem::remove_all(root_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  [[nodiscard]] std::string path(const std::string& name) const { return (root_ / name).string(); }

  /// Writes a file and returns its path.
  [[nodiscard]] std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

  /// The number of files in the folder.
  [[nodiscard]] std::ptrdiff_t files() const {
    return std::distance(std::filesystem::directory_iterator(root_),
                         std::filesystem::directory_iterator());
  }

 private:
  std::filesystem::path root_;
};

inline std::string file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The diagnostics of the UserError that `action` must throw.
template <typename Action>
std::vector<Diagnostic> errors_of(Action&& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.diagnostics();
  }
  ADD_FAILURE() << "no UserError was thrown";
  return {{"none", "", {}, ""}};
}

/// Expects one UserError with this code, whose message contains `text` and which names `file`.
template <typename Action>
void expect_error(Action&& action, const std::string& code, const std::string& text,
                  const std::string& file) {
  const std::vector<Diagnostic> found = errors_of(action);
  EXPECT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].code, code) << found[0].message;
  EXPECT_NE(found[0].message.find(text), std::string::npos) << found[0].message;
  EXPECT_EQ(found[0].where.file, file) << found[0].message;
}

}  // namespace gradus::runtime::testing
