#pragma once

// The program as a user runs it, in a folder of the test's own.

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace gradus {

/// The bytes of a file; empty where there is none.
std::string contents(const std::filesystem::path& path);

struct Outcome {
  int status = 0;
  std::string output;  // stdout and stderr
};

/// Runs a line of the shell in `folder`, where `gradus` is the program.
Outcome run_shell(const std::filesystem::path& folder, const std::string& line);

class Program : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Runs the program in the source folder.
  [[nodiscard]] Outcome gradus(const std::string& arguments) const {
    return run_shell(GRADUS_SOURCE_DIR, "gradus " + arguments);
  }

  std::filesystem::path folder_;
};

}  // namespace gradus
