#pragma once

// The kernels of tests/text/kernel, which several tests share.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace gradus::codegen {

inline std::filesystem::path kernel_folder() {
  return std::filesystem::path(GRADUS_SOURCE_DIR) / "tests/text/kernel";
}

/// The content of a file; empty when there is none.
inline std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The content of tests/text/kernel/<name>.kir; empty when there is none.
inline std::string kernel_text(const std::string& name) {
  return file_text(kernel_folder() / (name + ".kir"));
}

/// Names of all kernels there, in order.
inline std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kernel_folder())) {
    if (entry.path().extension() == ".kir") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace gradus::codegen
