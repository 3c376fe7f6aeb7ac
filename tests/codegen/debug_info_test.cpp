// The debug information of kernels: read back from object files, and what it must not change.

#include <gtest/gtest.h>
#include <llvm/DebugInfo/DWARF/DWARFContext.h>
#include <llvm/Object/ELFObjectFile.h>

#include <map>
#include <set>

#include "codegen/code_cache.h"
#include "codegen/jit.h"
#include "codegen/text_kernel.h"
#include "kernel_texts.h"

namespace gradus::codegen {
namespace {

const DebugOptions kLines = {.lines = true, .gdb = false, .perf = false, .directory = "/models"};

std::vector<Kernel> all_kernels() {
  std::vector<Kernel> kernels;
  for (const std::string& name : kernel_names()) kernels.push_back(parse_kernel(kernel_text(name)));
  return kernels;
}

std::unique_ptr<llvm::object::ObjectFile> object_of(const std::string& bytes) {
  auto object = llvm::object::ObjectFile::createObjectFile(llvm::MemoryBufferRef(bytes, "kernels"));
  EXPECT_TRUE(static_cast<bool>(object));
  return std::move(*object);
}

/// What an object file says about a function.
struct FunctionLines {
  std::string name;
  std::string file;
  unsigned line = 0;         // of the function
  std::set<unsigned> lines;  // of its instructions
};

std::map<std::string, FunctionLines> functions_of(const std::string& bytes) {
  const auto object = object_of(bytes);
  const auto context = llvm::DWARFContext::create(*object);
  const auto* elf = llvm::cast<llvm::object::ELFObjectFileBase>(object.get());
  using Kind = llvm::DILineInfoSpecifier;
  const Kind kind(Kind::FileLineInfoKind::AbsoluteFilePath, Kind::FunctionNameKind::ShortName);
  std::map<std::string, FunctionLines> functions;
  for (const llvm::object::ELFSymbolRef& symbol : elf->symbols()) {
    if (llvm::cantFail(symbol.getType()) != llvm::object::SymbolRef::ST_Function) continue;
    const llvm::object::SectionedAddress address{llvm::cantFail(symbol.getAddress()),
                                                 llvm::cantFail(symbol.getSection())->getIndex()};
    FunctionLines& found = functions[llvm::cantFail(symbol.getName()).str()];
    const llvm::DILineInfo first = context->getLineInfoForAddress(address, kind);
    found.name = first.FunctionName;
    found.file = first.FileName;
    found.line = first.StartLine;
    for (const auto& [at, info] :
         context->getLineInfoForAddressRange(address, symbol.getSize(), kind)) {
      found.lines.insert(info.Line);
    }
    found.lines.erase(0);
  }
  return functions;
}

TEST(DebugInfo, NamesTheKernelAndTheLinesOfItsStages) {
  const std::vector<Kernel> kernels = all_kernels();
  for (InstructionSet set : {InstructionSet::x86_64_v4, InstructionSet::aarch64}) {
    const GeneratedCode code = generate_code(kernels, make_target(set), CodeForm::object, kLines);
    auto functions = functions_of(code.code);
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      EXPECT_EQ(functions[code.symbols[i]].name, kernels[i].name);
    }
    const auto named = [&](const std::string& name) {
      for (const auto& [symbol, function] : functions) {
        if (function.name == name) return function;
      }
      return FunctionLines();
    };
    EXPECT_EQ(named("softmax").file, "/models/model.json");
    EXPECT_EQ(named("softmax").line, 7u);
    EXPECT_EQ(named("softmax").lines, (std::set<unsigned>{7, 12}));
    EXPECT_EQ(named("dense").file, "/models/model.json");
    EXPECT_EQ(named("dense").lines, std::set<unsigned>{9});
  }
}

TEST(DebugInfo, OfAKernelFromNowhereHasItsNameAndNoLine) {
  Kernel kernel = parse_kernel(kernel_text("softmax"));
  kernel.provenance.clear();
  for (Stage& stage : kernel.stages) {
    std::visit([](auto& s) { s.provenance.clear(); }, stage);
  }
  const GeneratedCode code = generate_code(
      std::span(&kernel, 1), make_target(InstructionSet::x86_64), CodeForm::object, kLines);
  const FunctionLines function = functions_of(code.code).at(code.symbols[0]);
  EXPECT_EQ(function.name, "softmax");
  EXPECT_TRUE(function.lines.empty());
}

/// The bytes of all sections that are in memory when the code runs.
std::string loaded_bytes(const std::string& bytes) {
  const auto object = object_of(bytes);
  std::string loaded;
  for (const llvm::object::SectionRef& section : object->sections()) {
    if ((llvm::object::ELFSectionRef(section).getFlags() & llvm::ELF::SHF_ALLOC) == 0) continue;
    loaded += llvm::cantFail(section.getName()).str() + '\n';
    loaded += llvm::cantFail(section.getContents()).str() + '\n';
  }
  return loaded;
}

TEST(DebugInfo, ChangesNoInstruction) {
  const std::vector<Kernel> kernels = all_kernels();
  for (InstructionSet set : kInstructionSets) {
    const Target target = make_target(set);
    const std::string without = generate_code(kernels, target, CodeForm::object).code;
    const std::string with = generate_code(kernels, target, CodeForm::object, kLines).code;
    EXPECT_FALSE(with == without);
    EXPECT_TRUE(loaded_bytes(with) == loaded_bytes(without)) << to_string(set);
  }
}

TEST(DebugInfo, IsPartOfTheKeyOfCachedCode) {
  const Target target = make_target(InstructionSet::x86_64);
  const std::string symbol = "kernel";
  const auto key = [&](const Kernel& kernel, const DebugOptions& debug) {
    const Kernel* kernels[] = {&kernel};
    const std::string* symbols[] = {&symbol};
    return code_key(kernels, symbols, target, debug);
  };
  const Kernel here = parse_kernel(kernel_text("softmax"));
  Kernel elsewhere = here, stage_elsewhere = here, renamed = here;
  elsewhere.provenance = "model.json:8:3 logits forward";
  std::get<Loop>(stage_elsewhere.stages[1]).provenance = "model.json:13:5 loss forward";
  renamed.name = "normalise";
  DebugOptions moved = kLines;
  moved.directory = "/other";
  std::set<std::string> keys = {key(here, {}), key(here, moved)};
  for (const Kernel& kernel : {here, elsewhere, stage_elsewhere, renamed}) {
    EXPECT_EQ(key(kernel, {}), key(here, {}));
    keys.insert(key(kernel, kLines));
  }
  EXPECT_EQ(keys.size(), 6u);
  DebugOptions announced = kLines;
  announced.gdb = announced.perf = true;
  EXPECT_EQ(key(here, announced), key(here, kLines));
}

}  // namespace
}  // namespace gradus::codegen
