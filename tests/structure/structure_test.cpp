// Reads the sources and holds the rules that no compiler holds: who may include whom, in which
// folders heavy libraries live, and what library code must not do.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace gradus {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

/// Folders of ours that a folder may include, or single headers.
const std::map<std::string, Strings> kMayInclude = {
    {"base", {"base/"}},
    {"ir", {"ir/", "base/"}},
    {"passes", {"passes/", "ir/", "base/"}},
    {"codegen",
     {"codegen/", "passes/", "ir/", "base/", "runtime/kernel_abi.h", "runtime/executable.h"}},
    {"runtime", {"runtime/", "base/"}},
    {"frontend", {"frontend/", "passes/differentiate.h", "ir/", "base/"}},
};
/// Folders whose code is a program, not a library.
const std::set<std::string> kPrograms = {"tools", "bench", "tests"};

/// Where the headers of an outside library may be included: paths that match.
struct Room {
  std::string include;  // matches what stands between < and >
  std::string files;    // matches the paths that may include it
};
const Room kRooms[] = {
    {"llvm(-c)?/.*", "codegen/[^/]*\\.cpp|codegen/emit[^/]*\\.h|bench/.*|tests/codegen/.*"},
    {"boost/.*", "ir/[^/]*\\.cpp|ir/graph_structure\\.h|passes/[^/]*\\.cpp|tests/(ir|passes)/.*"},
    {"nlohmann/.*", "(frontend|runtime|bench)/.*\\.cpp|tools/.*|tests/.*"},
    {"CLI/.*", "tools/.*"},
    {"zlib\\.h", "runtime/.*\\.cpp|tests/runtime/.*"},
    {"gtest/.*|gmock/.*", "tests/.*"},
    {"benchmark/.*", "bench/.*"},
    {"iostream", "tools/.*|bench/.*|tests/.*"},
};

/// What no code may use: it gives other numbers with another standard library (base/philox.h).
const std::string kOtherNumbers = "\\bstd::(\\w+_distribution|random_device|shuffle|sample)\\b";

/// What library code must not contain, once comments and strings are gone.
struct Forbidden {
  std::string pattern, reason;
};
const Forbidden kForbidden[] = {
    {"\\bstd::(cout|cerr|clog)\\b", "prints"},
    {"(^|[^\\w.>])(std::)?(printf|puts|putchar|fprintf|perror)\\s*\\(", "prints"},
    {"\\bfmt::print\\b", "prints"},
    {"\\bllvm::(outs|errs|dbgs)\\b", "prints"},
    {"(^|[^\\w.>:])(std::|::)?(abort|exit|_exit|quick_exit|terminate)\\s*\\(", "ends the program"},
    {"(^|[^\\w.>])assert\\s*\\(", "asserts: GRADUS_CHECK throws"},
    {"\\bllvm::report_fatal_error\\b|\\bllvm_unreachable\\b", "ends the program"},
    {"(^|[^:\\w])new\\s+[A-Za-z_:]", "allocates by hand"},
    {"\\busing\\s+namespace\\b", "imports a namespace"},
};

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// `text` with comments, strings and character constants blanked out; lines stay.
std::string code_of(const std::string& text) {
  std::string code = text;
  const auto blank = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < std::min(end, code.size()); ++i) {
      if (code[i] != '\n') code[i] = ' ';
    }
    return end;
  };
  for (std::size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "//") == 0) {
      i = blank(i, std::min(text.find('\n', i), text.size()));
    } else if (text.compare(i, 2, "/*") == 0) {
      i = blank(i, std::min(text.find("*/", i), text.size() - 2) + 2);
    } else if (text.compare(i, 3, "R\"(") == 0) {
      i = blank(i, std::min(text.find(")\"", i), text.size() - 2) + 2);
    } else if (text[i] == '"' || (text[i] == '\'' && (i == 0 || !std::isalnum(text[i - 1])))) {
      std::size_t end = i + 1;
      while (end < text.size() && text[end] != text[i] && text[end] != '\n') {
        end += text[end] == '\\' ? 2 : 1;
      }
      i = blank(i, end + 1);
    } else {
      ++i;
    }
  }
  return code;
}

/// Every broken rule of one file: its path from the root, and its text.
Strings violations(const std::string& path, const std::string& text) {
  Strings found;
  const std::string folder = path.substr(0, path.find('/'));
  static const std::regex include("\\s*#\\s*include\\s*([<\"])([^>\"]+)[>\"].*");
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::smatch match;
    if (!std::regex_match(line, match, include)) continue;
    const std::string name = match[2];
    const std::string where = path + ":" + std::to_string(number) + ": includes " + name;
    if (match[1] == "\"" && kMayInclude.contains(folder)) {
      const Strings& allowed = kMayInclude.at(folder);
      if (std::none_of(allowed.begin(), allowed.end(),
                       [&](const std::string& prefix) { return name.starts_with(prefix); })) {
        found.push_back(where);
      }
    }
    if (match[1] == "\"" && name.starts_with("codegen/emit") && folder != "codegen" &&
        !path.starts_with("tests/codegen/") && folder != "bench") {
      found.push_back(where + ", which may include LLVM");
    }
    for (const Room& room : kRooms) {
      if (std::regex_match(name, std::regex(room.include)) &&
          !std::regex_match(path, std::regex(room.files))) {
        found.push_back(where);
      }
    }
  }
  if (path.ends_with(".h") && text.find("#pragma once") == std::string::npos) {
    found.push_back(path + ": no #pragma once");
  }
  const std::string code = code_of(text);
  if (std::smatch match; std::regex_search(code, match, std::regex(kOtherNumbers))) {
    found.push_back(path + ": uses " + match.str());
  }
  if (!kMayInclude.contains(folder)) return found;
  for (const Forbidden& forbidden : kForbidden) {
    const std::regex pattern(forbidden.pattern, std::regex::multiline);
    for (std::sregex_iterator at(code.begin(), code.end(), pattern), end; at != end; ++at) {
      const auto line = 1 + std::count(code.begin(), code.begin() + at->position(), '\n');
      found.push_back(path + ":" + std::to_string(line) + ": " + forbidden.reason + ": " +
                      at->str());
    }
  }
  if (path != "base/check.h" && std::regex_search(code, std::regex("#\\s*define\\b"))) {
    found.push_back(path + ": defines a macro");
  }
  return found;
}

/// Paths from the root of all C++ sources that belong to the project.
Strings sources() {
  Strings paths;
  const fs::path root = GRADUS_SOURCE_DIR;
  for (const auto& folder : fs::directory_iterator(root)) {
    const std::string name = folder.path().filename().string();
    if (!folder.is_directory() || name.starts_with(".") || name.starts_with("build")) continue;
    for (const auto& file : fs::recursive_directory_iterator(folder.path())) {
      const std::string extension = file.path().extension().string();
      if (extension != ".h" && extension != ".cpp") continue;
      paths.push_back(fs::relative(file.path(), root).generic_string());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

TEST(Structure, EveryFileKeepsTheRules) {
  const Strings paths = sources();
  EXPECT_GT(paths.size(), 20u);
  for (const std::string& path : paths) {
    for (const std::string& violation :
         violations(path, read(fs::path(GRADUS_SOURCE_DIR) / path))) {
      ADD_FAILURE() << violation;
    }
  }
}

TEST(Structure, EveryFolderIsKnown) {
  for (const std::string& path : sources()) {
    const std::string folder = path.substr(0, path.find('/'));
    EXPECT_TRUE(kMayInclude.contains(folder) || kPrograms.contains(folder)) << path;
  }
}

TEST(Structure, EveryFolderSaysWhatItIsFor) {
  for (const char* folder : {"base", "passes", "codegen", "runtime", "frontend", "tools", "models",
                             "bench", "tests", "docs", "examples"}) {
    const std::string text = read(fs::path(GRADUS_SOURCE_DIR) / folder / "README.md");
    EXPECT_GT(text.size(), 200u) << folder << "/README.md";
  }
}

TEST(Structure, LinkLinesAreTheRule) {
  const std::string cmake = read(fs::path(GRADUS_SOURCE_DIR) / "CMakeLists.txt");
  static const std::regex link("gradus_library\\((\\w+)([^)]*)\\)");
  int libraries = 0;
  for (std::sregex_iterator at(cmake.begin(), cmake.end(), link), end; at != end; ++at) {
    const std::string library = (*at)[1];
    const std::string needs = (*at)[2];
    if (!kMayInclude.contains(library)) continue;  // the function's own definition
    ++libraries;
    static const std::regex ours("gradus_(\\w+)");
    for (std::sregex_iterator need(needs.begin(), needs.end(), ours); need != end; ++need) {
      const std::string name = (*need)[1];
      const Strings& allowed = kMayInclude.at(library);
      EXPECT_TRUE(
          std::any_of(allowed.begin(), allowed.end(),
                      [&](const std::string& prefix) { return prefix.starts_with(name + "/"); }))
          << library << " links " << name;
    }
  }
  EXPECT_EQ(libraries, 6);
}

// The rules themselves: what they must find, and what they must not.

TEST(StructureRules, FindWhatIsForbidden) {
  const std::pair<std::string, std::string> samples[] = {
      {"ir/a.cpp", "#include \"passes/fuse.h\"\n"},
      {"base/a.cpp", "#include \"ir/op.h\"\n"},
      {"runtime/a.cpp", "#include \"codegen/kernel.h\"\n"},
      {"codegen/a.cpp", "#include \"runtime/trainer.h\"\n"},
      {"frontend/a.cpp", "#include \"passes/fuse.h\"\n"},
      {"ir/a.cpp", "#include \"a.h\"\n"},
      {"passes/a.cpp", "# include <llvm/IR/Module.h>\n"},
      {"codegen/jit.h", "#pragma once\n#include <llvm/IR/Module.h>\n"},
      {"tools/a.cpp", "#include \"codegen/emit_context.h\"\n"},
      {"ir/graph.h", "#pragma once\n#include <boost/graph/graph_traits.hpp>\n"},
      {"frontend/a.h", "#pragma once\n#include <nlohmann/json.hpp>\n"},
      {"runtime/a.cpp", "#include <CLI/CLI.hpp>\n"},
      {"ir/a.cpp", "#include <iostream>\n"},
      {"tests/ir/a.cpp", "std::uniform_real_distribution<float> numbers;\n"},
      {"runtime/a.cpp", "void f() { std::shuffle(a, b, c); }\n"},
      {"base/a.h", "int x;\n"},
      {"ir/a.cpp", "void f() { std::cerr << 1; }\n"},
      {"ir/a.cpp", "void f() {\n  printf(\"%d\", 1);\n}\n"},
      {"ir/a.cpp", "void f() { std::abort(); }\n"},
      {"ir/a.cpp", "void f() {\n  exit(1);\n}\n"},
      {"ir/a.cpp", "void f() { assert(true); }\n"},
      {"ir/a.cpp", "int* f() { return new int(1); }\n"},
      {"ir/a.cpp", "using namespace std;\n"},
      {"ir/a.cpp", "#define A 1\n"},
  };
  for (const auto& [path, text] : samples) EXPECT_EQ(violations(path, text).size(), 1u) << text;
}

TEST(StructureRules, AcceptWhatIsAllowed) {
  const std::pair<std::string, std::string> samples[] = {
      {"codegen/a.cpp", "#include \"runtime/kernel_abi.h\"\n#include <llvm/IR/Module.h>\n"},
      {"passes/a.cpp", "#include \"base/check.h\"\n#include <boost/graph/topological_sort.hpp>\n"},
      {"tools/a.cpp", "#include <CLI/CLI.hpp>\n#include <iostream>\nvoid f() { std::exit(1); }\n"},
      {"ir/a.cpp", "// prints with printf(...) and new things\nconst char* s = \"std::cout\";\n"},
      {"ir/a.cpp",
       "void f() { snprintf(b, 1, \"\"); graph.exit(1); loop->exit(2); on_exit(3); }\n"},
      {"ir/a.cpp", "static_assert(true);\n/* abort() */ char c = '\"'; int n = 1'000;\n"},
  };
  for (const auto& [path, text] : samples) {
    EXPECT_EQ(violations(path, text), Strings{}) << text;
  }
}

}  // namespace
}  // namespace gradus
