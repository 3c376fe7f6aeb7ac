// Every mistake in a model file, or in generating with it, and in the text of a graph, to the letter:
// tests/golden/<code>*.json or .ir is a wrong file (with the overrides of a .set file beside it),
// the .txt beside it what the user reads. With GRADUS_UPDATE=1 in the environment the texts are
// written instead of compared.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/error_codes.h"
#include "frontend/model.h"
#include "ir/text.h"

namespace gradus::frontend {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<fs::path> wrong_files() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(GRADUS_SOURCE_DIR) / "tests/golden")) {
    const fs::path& path = entry.path();
    if (path.extension() == ".json" || path.extension() == ".ir") files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> overrides_of(fs::path path) {
  std::vector<std::string> overrides;
  std::ifstream lines(path.replace_extension(".set"));
  for (std::string line; std::getline(lines, line);) overrides.push_back(line);
  return overrides;
}

/// What the user reads; every message points into the file or at an override.
std::string findings_of(const fs::path& path) {
  const std::string source = read(path);
  try {
    if (path.extension() == ".ir") {
      (void)ir::parse_graph(source, path.filename().string());
    } else {
      const Model model(path.filename().string(), source, overrides_of(path));
      (void)model.decode(1, {});
    }
    return "no error\n";
  } catch (const UserError& error) {
    std::string text;
    for (const Diagnostic& diagnostic : error.diagnostics()) text += render(diagnostic, source);
    return text;
  }
}

TEST(Golden, MessagesAreAsWritten) {
  const bool update = std::getenv("GRADUS_UPDATE") != nullptr;
  for (fs::path path : wrong_files()) {
    SCOPED_TRACE(path.filename().string());
    const std::string found = findings_of(path);
    const std::string code = path.filename().string().substr(0, 5);
    EXPECT_NE(found.find("error[" + code + "]"), std::string::npos) << found;
    path.replace_extension(".txt");
    if (update) {
      std::ofstream(path, std::ios::binary) << found;
    } else {
      EXPECT_EQ(found, read(path));
    }
  }
}

TEST(Golden, EveryCodeOfModelFilesHasACase) {
  std::set<std::string> cases;
  for (const fs::path& path : wrong_files()) cases.insert(path.filename().string().substr(0, 5));
  for (const ErrorCode& code : error_codes()) {
    if (code.code < "E0100" || code.code >= "E1000") continue;
    EXPECT_TRUE(cases.contains(std::string(code.code))) << code.code;
  }
}

}  // namespace
}  // namespace gradus::frontend
