#include "codegen/emit_debug.h"

#include <llvm/BinaryFormat/Dwarf.h>
#include <llvm/IR/Module.h>

#include "ir/provenance.h"

namespace gradus::codegen {
namespace {

constexpr unsigned kDwarfVersion = 5;
constexpr const char* kNoFile = "gradus";  // of kernels that come from no model file

}  // namespace

DebugInfo::DebugInfo(llvm::Module& module, std::string directory)
    : module_(module), builder_(module), directory_(std::move(directory)) {
  module.addModuleFlag(llvm::Module::Warning, "Debug Info Version", llvm::DEBUG_METADATA_VERSION);
  module.addModuleFlag(llvm::Module::Warning, "Dwarf Version", kDwarfVersion);
}

llvm::DIFile* DebugInfo::file(const std::string& path) {
  return builder_.createFile(path.empty() ? kNoFile : path, directory_);
}

void DebugInfo::add(const Kernel& kernel, llvm::Function& function) {
  const SourceLocation place = ir::first_place(kernel.provenance);
  llvm::DIFile* where = file(place.file);
  if (!has_unit_) {
    // Without an index of names, which pays for large programs.
    (void)builder_.createCompileUnit(llvm::dwarf::DW_LANG_C11, where, "gradus",
                                     /*isOptimized=*/true, /*Flags=*/"", /*RV=*/0,
                                     /*SplitName=*/"", llvm::DICompileUnit::FullDebug, /*DWOId=*/0,
                                     /*SplitDebugInlining=*/false, /*DebugInfoForProfiling=*/false,
                                     llvm::DICompileUnit::DebugNameTableKind::None);
    has_unit_ = true;
  }
  llvm::DISubroutineType* type = builder_.createSubroutineType(builder_.getOrCreateTypeArray({}));
  // No name for the linker: debuggers would show that one.
  kernel_ = builder_.createFunction(
      where, kernel.name, /*LinkageName=*/"", where, place.line, type, place.line,
      llvm::DINode::FlagPrototyped,
      llvm::DISubprogram::SPFlagDefinition | llvm::DISubprogram::SPFlagOptimized);
  function.setSubprogram(kernel_);
}

llvm::DebugLoc DebugInfo::place(const std::string& provenance) {
  const SourceLocation place = ir::first_place(provenance);
  if (place.line == 0) {
    return llvm::DILocation::get(module_.getContext(), kernel_->getLine(), 0, kernel_);
  }
  llvm::DIScope* scope = kernel_;
  if (place.file != kernel_->getFilename()) {  // a model of several files
    scope = builder_.createLexicalBlockFile(kernel_, file(place.file), 0);
  }
  return llvm::DILocation::get(module_.getContext(), place.line, place.column, scope);
}

void DebugInfo::finish() { builder_.finalize(); }

}  // namespace gradus::codegen
