#include "codegen/emit_machine.h"

#include <llvm-c/Target.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/raw_ostream.h>

#include "base/check.h"

namespace gradus::codegen {
namespace {

constexpr const char* kX86 = "x86_64-unknown-linux-gnu";
constexpr const char* kArm = "aarch64-unknown-linux-gnu";

/// LLVM has no other door to some of its switches than its command line's.
void switch_on(llvm::StringRef name) {
  llvm::cl::Option* option = llvm::cl::getRegisteredOptions().lookup(name);
  GRADUS_CHECK(option != nullptr && !option->addOccurrence(0, name, "true"),
               "LLVM does not know " + name.str());
}

}  // namespace

std::unique_ptr<llvm::TargetMachine> target_machine(const Target& target) {
  // Registering the processor families is idempotent but not thread-safe: once per process.
  static const bool registered = [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();  // for inline assembly
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeAArch64AsmParser();
    // The emitter shares what addresses have in common: strength reduction would take a quarter of
    // the time and gain nothing. Nor do schedules after register allocation, a fifth of the time,
    // on processors that reorder instructions themselves. What a loop does not change is made
    // before the loop already; what LLVM would still hoist, such as constants, fills registers that
    // sums need: a tenth of the time, and up to a quarter more spills. No mask is worth moving
    // words to.
    switch_on("disable-lsr");
    switch_on("disable-post-ra");
    switch_on("disable-machine-licm");
    switch_on("disable-x86-domain-reassignment");
    return true;
  }();
  const char* triple = target.is_aarch64() ? kArm : kX86;
  std::string message;
  const llvm::Target* family = llvm::TargetRegistry::lookupTarget(triple, message);
  GRADUS_CHECK(registered && family != nullptr, message);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  options.MCOptions.AsmVerbose = true;  // comments name spills
  // Frames are described (outside of what is loaded) with and without debug information: the
  // description moves instructions of the prologue, and debug information must not.
  options.ForceDwarfFrameSection = true;
  return std::unique_ptr<llvm::TargetMachine>(
      family->createTargetMachine(triple, target.cpu, target.features, options, llvm::Reloc::PIC_,
                                  llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default));
}

std::string machine_code(llvm::Module& module, llvm::TargetMachine& machine, CodeForm form) {
  std::string code;
  if (form == CodeForm::llvm_ir) {
    llvm::raw_string_ostream stream(code);
    module.print(stream, nullptr);
    return code;
  }
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  const auto type = form == CodeForm::assembly ? llvm::CodeGenFileType::AssemblyFile
                                               : llvm::CodeGenFileType::ObjectFile;
  const bool failed = machine.addPassesToEmitFile(passes, stream, nullptr, type,
                                                  /*DisableVerify=*/true);
  GRADUS_CHECK(!failed, "no machine code for this target");
  passes.run(module);
  code.assign(bytes.data(), bytes.size());
  return code;
}

}  // namespace gradus::codegen
