#include "tests/models/program.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace gradus {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Outcome run_shell(const fs::path& folder, const std::string& line) {
  const std::string program = fs::path(GRADUS_PROGRAM).parent_path().string();
  const std::string command = "exec 2>&1; cd '" + folder.string() + "' && export PATH='" + program +
                              "':$PATH GRADUS_CACHE=\"${GRADUS_CACHE-}\" && " + line;
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) outcome.output += buffer.data();
  const int status = pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

void Program::SetUp() {
  std::string pattern = (fs::temp_directory_path() / "gradus-XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  folder_ = pattern;
}

void Program::TearDown() { fs::remove_all(folder_); }

}  // namespace gradus
