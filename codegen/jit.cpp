#include "codegen/jit.h"

#include <llvm/ExecutionEngine/RTDyldMemoryManager.h>
#include <llvm/ExecutionEngine/RuntimeDyld.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Object/ObjectFile.h>
#include <llvm/Support/Memory.h>
#include <llvm/Support/Process.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

#include "base/check.h"
#include "base/float_environment.h"
#include "base/parallel.h"
#include "base/stopwatch.h"
#include "codegen/emit.h"
#include "codegen/emit_alike.h"
#include "codegen/emit_announce.h"
#include "codegen/emit_identity.h"
#include "codegen/emit_machine.h"

namespace gradus::codegen {
namespace {

/// A module with some kernels, verified. scratch[i] is set for each emitted kernel.
std::unique_ptr<llvm::Module> emit_module(llvm::LLVMContext& context,
                                          std::span<const Kernel* const> kernels,
                                          std::span<const std::string* const> symbols,
                                          const Target& target, llvm::TargetMachine& machine,
                                          const DebugOptions& debug,
                                          std::vector<std::int64_t>& scratch) {
  auto module = std::make_unique<llvm::Module>("gradus", context);
  module->setTargetTriple(machine.getTargetTriple().str());
  module->setDataLayout(machine.createDataLayout());
  std::optional<DebugInfo> places;
  if (debug.lines) places.emplace(*module, debug.directory);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    scratch.push_back(
        emit_kernel(*kernels[i], target, *symbols[i], *module, places ? &*places : nullptr));
  }
  unite_alike(*module);
  if (places) places->finish();
  std::string message;
  llvm::raw_string_ostream stream(message);
  if (llvm::verifyModule(*module, &stream)) throw InternalError("LLVM refuses: " + message);
  return module;
}

/// Code and constants of one object in one block of memory, so that they can reach each other.
class CodeMemory : public llvm::RTDyldMemoryManager {
 public:
  ~CodeMemory() override {
    announcement_.reset();
    llvm::sys::Memory::releaseMappedMemory(block_);
  }

  /// Tells others of the object in this memory while it is there.
  void announce(const llvm::object::ObjectFile& object,
                const llvm::RuntimeDyld::LoadedObjectInfo& loaded, const DebugOptions& debug) {
    announcement_ = std::make_unique<Announcement>(object, loaded, debug);
  }

  bool needsToReserveAllocationSpace() override { return true; }
  void reserveAllocationSpace(std::uintptr_t code, llvm::Align, std::uintptr_t constants,
                              llvm::Align, std::uintptr_t data, llvm::Align) override {
    const std::size_t page = llvm::sys::Process::getPageSizeEstimate();
    const auto pages = [page](std::size_t bytes) { return (bytes + page - 1) / page * page; };
    code_end_ = pages(code + kSlack);
    std::error_code error;
    block_ = llvm::sys::Memory::allocateMappedMemory(
        code_end_ + pages(constants + data + kSlack), nullptr,
        llvm::sys::Memory::MF_READ | llvm::sys::Memory::MF_WRITE, error);
    GRADUS_CHECK(!error, error.message());
    constants_ = code_end_;
  }
  std::uint8_t* allocateCodeSection(std::uintptr_t size, unsigned alignment, unsigned,
                                    llvm::StringRef) override {
    return take(code_, size, alignment, code_end_);
  }
  std::uint8_t* allocateDataSection(std::uintptr_t size, unsigned alignment, unsigned,
                                    llvm::StringRef, bool) override {
    return take(constants_, size, alignment, block_.allocatedSize());
  }
  bool finalizeMemory(std::string*) override {
    using llvm::sys::Memory;
    Memory::InvalidateInstructionCache(block_.base(), code_end_);
    const llvm::sys::MemoryBlock code(block_.base(), code_end_);
    const llvm::sys::MemoryBlock constants(static_cast<char*>(block_.base()) + code_end_,
                                           block_.allocatedSize() - code_end_);
    return Memory::protectMappedMemory(code, Memory::MF_READ | Memory::MF_EXEC) ||
           Memory::protectMappedMemory(constants, Memory::MF_READ);
  }
  void registerEHFrames(std::uint8_t*, std::uint64_t, std::size_t) override {}
  void deregisterEHFrames() override {}

  /// The only functions outside that kernels may call.
  llvm::JITSymbol findSymbol(const std::string& name) override {
    const auto address = [](auto function) {
      return llvm::JITSymbol(reinterpret_cast<std::uint64_t>(function),
                             llvm::JITSymbolFlags::Exported);
    };
    using Float = float (*)(float, float);
    using Double = double (*)(double, double);
    using FloatFma = float (*)(float, float, float);
    using DoubleFma = double (*)(double, double, double);
    if (name == "fmaf") return address(static_cast<FloatFma>(fused_multiply_add));
    if (name == "fma") return address(static_cast<DoubleFma>(fused_multiply_add));
    if (name == "fmodf") return address(static_cast<Float>(float_remainder));
    if (name == "fmod") return address(static_cast<Double>(float_remainder));
    if (name == "memset") return address(&std::memset);
    if (name == "memcpy") return address(&std::memcpy);
    return nullptr;
  }

 private:
  static constexpr std::size_t kSlack = 4096;  // for alignment between sections

  std::uint8_t* take(std::size_t& next, std::size_t size, std::size_t alignment,
                     std::size_t end) const {
    alignment = std::max<std::size_t>(alignment, 1);
    const std::size_t begin = (next + alignment - 1) / alignment * alignment;
    GRADUS_CHECK(begin + size <= end, "code is larger than announced");
    next = begin + size;
    return static_cast<std::uint8_t*>(block_.base()) + begin;
  }

  std::unique_ptr<Announcement> announcement_;
  llvm::sys::MemoryBlock block_;
  std::size_t code_ = 0;
  std::size_t code_end_ = 0;
  std::size_t constants_ = 0;
};

/// The kernels that one thread compiles, and what becomes of them.
struct Share {
  std::vector<const Kernel*> kernels;
  std::vector<const std::string*> symbols;
  std::int64_t cost = 0;
  std::string key;  // in the store
  std::vector<std::int64_t> scratch;
  std::vector<runtime::KernelFunction> functions;
  std::unique_ptr<CodeMemory> memory;
  CompileReport report;
};

/// A module's code where it can run.
struct LinkedModule {
  std::unique_ptr<CodeMemory> memory;
  std::vector<runtime::KernelFunction> functions;  // by symbol; null: not in this module
};

LinkedModule link(std::span<const std::string* const> symbols, std::string_view bytes,
                  const DebugOptions& debug) {
  const llvm::MemoryBufferRef buffer(llvm::StringRef(bytes.data(), bytes.size()), "kernels");
  auto object = llvm::object::ObjectFile::createObjectFile(buffer);
  if (!object) throw InternalError(llvm::toString(object.takeError()));
  LinkedModule module{std::make_unique<CodeMemory>(), {}};
  llvm::RuntimeDyld linker(*module.memory, *module.memory);
  const auto loaded = linker.loadObject(**object);
  GRADUS_CHECK(loaded != nullptr && !linker.hasError(), linker.getErrorString().str());
  linker.resolveRelocations();
  GRADUS_CHECK(!linker.hasError(), linker.getErrorString().str());
  std::string message;
  GRADUS_CHECK(!module.memory->finalizeMemory(&message), message);
  if (debug.announces()) module.memory->announce(**object, *loaded, debug);
  for (const std::string* symbol : symbols) {
    const std::uint64_t address = linker.getSymbol(*symbol).getAddress();
    module.functions.push_back(reinterpret_cast<runtime::KernelFunction>(address));
  }
  return module;
}

/// The share's code from the store, or compiled and added to it.
CachedCode code_of(Share& share, const Target& target, CodeStore* store,
                   const DebugOptions& debug) {
  if (store != nullptr) {
    share.key = code_key(share.kernels, share.symbols, target, debug);
    if (const std::optional<std::string> entry = store->load(share.key)) {
      std::optional<CachedCode> known = decode_entry(share.key, *entry);
      if (known && known->scratch_bytes.size() == share.kernels.size()) {
        ++share.report.cached_modules;
        return std::move(*known);
      }
    }
  }
  const Stopwatch emission;
  llvm::LLVMContext context;
  const std::unique_ptr<llvm::TargetMachine> machine = target_machine(target);
  CachedCode code;
  const auto module = emit_module(context, share.kernels, share.symbols, target, *machine, debug,
                                  code.scratch_bytes);
  share.report.emit_seconds = emission.seconds();
  const Stopwatch generation;
  code.object = machine_code(*module, *machine, CodeForm::object);
  share.report.machine_seconds = generation.seconds();
  ++share.report.compiled_modules;
  if (store != nullptr) store->store(share.key, encode_entry(share.key, code));
  return code;
}

void compile_share(Share& share, const Target& target, CodeStore* store,
                   const DebugOptions& debug) {
  CachedCode code = code_of(share, target, store, debug);
  share.scratch = std::move(code.scratch_bytes);
  const Stopwatch watch;
  LinkedModule module = link(share.symbols, code.object, debug);
  for (std::size_t i = 0; i < share.symbols.size(); ++i) {
    GRADUS_CHECK(module.functions[i] != nullptr, "no symbol " + *share.symbols[i]);
  }
  share.functions = std::move(module.functions);
  share.memory = std::move(module.memory);
  share.report.link_seconds = watch.seconds();
}

void run_shares(std::vector<Share>& shares, const Target& target, CodeStore* store,
                const DebugOptions& debug) {
  for_each_parallel(shares.size(), static_cast<int>(shares.size()),
                    [&](std::size_t i) { compile_share(shares[i], target, store, debug); });
}

/// For each kernel the first one that is identical to it.
std::vector<std::size_t> originals(std::span<const Kernel> kernels) {
  std::unordered_map<std::string, std::size_t> known;
  std::vector<std::size_t> result;
  for (const Kernel& kernel : kernels) {
    result.push_back(known.emplace(kernel_identity(kernel), result.size()).first->second);
  }
  return result;
}

std::vector<std::string> symbols_of(std::span<const Kernel> kernels,
                                    std::span<const std::size_t> original) {
  std::vector<std::string> symbols;
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    if (original[i] != i) {
      symbols.push_back(symbols[original[i]]);
      continue;
    }
    std::string symbol = "gradus_" + std::to_string(i) + "_";
    for (char letter : kernels[i].name) {
      const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                         (letter >= '0' && letter <= '9');
      symbol += plain ? letter : '_';
    }
    symbols.push_back(std::move(symbol));
  }
  return symbols;
}

/// The distinct kernels spread over shares of similar cost, the dearest first, those of a family in
/// one share.
std::vector<Share> spread(std::span<const Kernel> kernels, std::span<const std::string> symbols,
                          std::vector<std::size_t> distinct, int threads) {
  std::vector<std::int64_t> costs;
  for (const Kernel& kernel : kernels) costs.push_back(compile_cost(kernel));
  std::ranges::stable_sort(distinct,
                           [&](std::size_t a, std::size_t b) { return costs[a] > costs[b]; });
  const std::size_t count =
      std::min(distinct.size(), static_cast<std::size_t>(std::max(threads, 1)));
  std::vector<Share> shares(count);
  std::unordered_map<std::string, Share*> homes;
  for (std::size_t i : distinct) {
    Share*& home = homes[kernel_family(kernels[i])];
    const bool first = home == nullptr;
    if (first) home = &*std::ranges::min_element(shares, {}, &Share::cost);
    home->kernels.push_back(&kernels[i]);
    home->symbols.push_back(&symbols[i]);
    if (first) home->cost += costs[i];
  }
  return shares;
}

std::vector<std::size_t> distinct_of(std::span<const std::size_t> original) {
  std::vector<std::size_t> distinct;
  for (std::size_t i = 0; i < original.size(); ++i) {
    if (original[i] == i) distinct.push_back(i);
  }
  return distinct;
}

}  // namespace

MachineCode compile(std::span<const Kernel> kernels, const Target& target, int threads,
                    CodeStore* store, const DebugOptions& debug) {
  const Stopwatch watch;
  GRADUS_CHECK(host_supports(target.set), "this machine cannot run code for the target");
  const std::vector<std::size_t> original = originals(kernels);
  const std::vector<std::string> symbols = symbols_of(kernels, original);
  const std::vector<std::size_t> distinct = distinct_of(original);
  std::vector<Share> shares = spread(kernels, symbols, distinct, threads);
  run_shares(shares, target, store, debug);

  MachineCode result;
  result.report.distinct_kernels = distinct.size();
  std::unordered_map<std::string, CompiledKernel> compiled;
  auto memory = std::make_shared<std::vector<std::unique_ptr<CodeMemory>>>();
  for (Share& share : shares) {
    for (std::size_t i = 0; i < share.kernels.size(); ++i) {
      compiled[*share.symbols[i]] = {share.functions[i], *share.symbols[i], share.scratch[i]};
    }
    memory->push_back(std::move(share.memory));
    if (store != nullptr) result.modules.push_back(std::move(share.key));
    result.report.cached_modules += share.report.cached_modules;
    result.report.compiled_modules += share.report.compiled_modules;
    result.report.emit_seconds += share.report.emit_seconds;
    result.report.machine_seconds += share.report.machine_seconds;
    result.report.link_seconds += share.report.link_seconds;
  }
  for (const std::string& symbol : symbols) result.kernels.push_back(compiled.at(symbol));
  result.code = std::move(memory);
  result.report.seconds = watch.seconds();
  return result;
}

std::optional<StoredFunctions> stored_functions(std::span<const std::string> modules,
                                                std::span<const std::string> symbols,
                                                CodeStore& store, const DebugOptions& debug) {
  std::vector<const std::string*> names;
  for (const std::string& symbol : symbols) names.push_back(&symbol);
  StoredFunctions result{std::vector<runtime::KernelFunction>(symbols.size()), nullptr};
  auto memory = std::make_shared<std::vector<std::unique_ptr<CodeMemory>>>();
  for (const std::string& key : modules) {
    const std::optional<std::string> entry = store.load(key);
    const std::optional<CachedCode> code = entry ? decode_entry(key, *entry) : std::nullopt;
    if (!code) return std::nullopt;
    LinkedModule module = link(names, code->object, debug);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (module.functions[i] != nullptr) result.functions[i] = module.functions[i];
    }
    memory->push_back(std::move(module.memory));
  }
  if (std::ranges::find(result.functions, nullptr) != result.functions.end()) return std::nullopt;
  result.code = std::move(memory);
  return result;
}

std::vector<std::string> kernel_symbols(std::span<const Kernel> kernels) {
  return symbols_of(kernels, originals(kernels));
}

GeneratedCode generate_code(std::span<const Kernel> kernels, const Target& target, CodeForm form,
                            const DebugOptions& debug) {
  const std::vector<std::size_t> original = originals(kernels);
  GeneratedCode result{{}, symbols_of(kernels, original), {}};
  std::vector<const Kernel*> distinct;
  std::vector<const std::string*> names;
  for (std::size_t i : distinct_of(original)) {
    distinct.push_back(&kernels[i]);
    names.push_back(&result.symbols[i]);
  }
  llvm::LLVMContext context;
  const std::unique_ptr<llvm::TargetMachine> machine = target_machine(target);
  std::vector<std::int64_t> scratch;
  const auto module = emit_module(context, distinct, names, target, *machine, debug, scratch);
  std::map<std::string_view, std::int64_t> scratch_of;
  for (std::size_t i = 0; i < names.size(); ++i) scratch_of[*names[i]] = scratch[i];
  for (const std::string& symbol : result.symbols) {
    result.scratch_bytes.push_back(scratch_of.at(symbol));
  }
  result.code = machine_code(*module, *machine, form);
  return result;
}

}  // namespace gradus::codegen
