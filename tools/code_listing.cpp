// Both texts are cut into basic blocks. LLVM writes the IR's name of a block as a comment beside
// the block's label in assembly; blocks that have no name there, made by the code generator itself,
// stay with the one before. A block may have no code (it was merged), or code in several places.

#include "tools/code_listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>
#include <sstream>
#include <utility>
#include <vector>

namespace gradus::tools {
namespace {

using Lines = std::vector<std::string>;

struct Block {
  std::string name;
  Lines lines;
};

constexpr std::size_t kColumn = 78;  // characters of LLVM IR

std::string trimmed(const std::string& line) {
  const std::size_t begin = line.find_first_not_of(" \t");
  if (begin == line.npos) return {};
  std::string text = line.substr(begin, line.find_last_not_of(" \t") + 1 - begin);
  std::ranges::replace(text, '\t', ' ');
  return text;
}

std::vector<Block> blocks_of_ir(const std::string& text) {
  static const std::regex label("^([-\\w.$]+|\"[^\"]*\"):");
  static const std::regex debug(",? !dbg !\\d+");
  std::vector<Block> blocks;
  std::istringstream stream(text);
  bool inside = false;
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("define ")) inside = true;
    if (!inside) continue;
    if (line == "}") break;
    if (line.starts_with("define ")) {
      blocks.push_back({"", {std::regex_replace(line, debug, "")}});
    } else if (std::smatch match; std::regex_search(line, match, label)) {
      blocks.push_back({match[1], {line.substr(0, line.find(' '))}});
    } else if (!trimmed(line).empty()) {
      blocks.back().lines.push_back("  " + trimmed(std::regex_replace(line, debug, "")));
    }
  }
  return blocks;
}

/// The files that `.loc` numbers.
std::map<std::string, std::string> files_of(const std::string& assembly) {
  static const std::regex file("\\.file\\s+(\\d+) (?:\"[^\"]*\" )?\"([^\"]*)\"");
  std::map<std::string, std::string> files;
  for (std::sregex_iterator at(assembly.begin(), assembly.end(), file), end; at != end; ++at) {
    files[(*at)[1]] = (*at)[2];
  }
  return files;
}

std::vector<Block> blocks_of_assembly(const std::string& text) {
  static const std::regex label("^(?:\\.LBB\\d+_\\d+:|(?:#|//) %bb\\.\\d+:)");
  static const std::regex name("(?:#|//) %([-\\w.$]+|\"[^\"]*\")$");
  static const std::regex location("^\\s*\\.loc\\s+(\\d+) (\\d+) (\\d+)");
  std::map<std::string, std::string> files = files_of(text);
  std::vector<Block> blocks;
  std::istringstream stream(text);
  std::string place;
  for (std::string line; std::getline(stream, line);) {
    std::smatch match;
    if (line.starts_with(".Lfunc_begin")) blocks.push_back({"", {}});
    if (line.starts_with(".Lfunc_end")) break;
    if (blocks.empty()) continue;
    if (std::regex_search(line, match, label)) {
      std::smatch known;
      const bool named = std::regex_search(line, known, name);
      const std::string block = named ? known[1].str() : blocks.back().name;
      blocks.push_back({block, {}});
      if (line[0] == '.') blocks.back().lines.push_back(line.substr(0, line.find(':') + 1));
    } else if (std::regex_search(line, match, location)) {
      if (match[2] == "0") continue;  // the code generator's own
      const std::string now =
          fmt::format("; {}:{}:{}", files[match[1]], match[2].str(), match[3].str());
      if (std::exchange(place, now) != now) blocks.back().lines.push_back(now);
    } else if (line.starts_with('\t') && !line.starts_with("\t.")) {
      blocks.back().lines.push_back("  " + trimmed(line));
    }
  }
  return blocks;
}

/// `text` in pieces that fit the column; all but the first are indented.
Lines wrapped(std::string text) {
  Lines pieces;
  while (text.size() > kColumn) {
    std::size_t at = text.rfind(' ', kColumn);
    if (at == text.npos || at < kColumn / 2) at = kColumn;
    pieces.push_back(text.substr(0, at));
    text = "      " + trimmed(text.substr(at));
  }
  pieces.push_back(text);
  return pieces;
}

}  // namespace

std::string side_by_side(const std::string& llvm_ir, const std::string& assembly) {
  const std::vector<Block> blocks = blocks_of_ir(llvm_ir);
  std::map<std::string, Lines> code;
  std::string name;
  for (Block& block : blocks_of_assembly(assembly)) {
    if (std::ranges::find(blocks, block.name, &Block::name) != blocks.end()) name = block.name;
    std::ranges::move(block.lines, std::back_inserter(code[name]));
  }
  std::string text;
  for (const Block& block : blocks) {
    Lines left;
    for (const std::string& line : block.lines) {
      std::ranges::copy(wrapped(line), std::back_inserter(left));
    }
    const Lines& right = code[block.name];
    for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
      const std::string row = fmt::format("{:<{}} | {}", i < left.size() ? left[i] : "", kColumn,
                                          i < right.size() ? right[i] : "");
      text += row.substr(0, row.find_last_not_of(' ') + 1) + '\n';
    }
  }
  return text;
}

}  // namespace gradus::tools
