// One LLVM module holds it all: the driver (codegen/artefact_driver.c), the kernels for every
// instruction set - a set is an attribute of a function -, the tables of the programs' steps, and
// the functions that the header declares. Only these can be seen from outside.

#include "codegen/artefact.h"

#include <llvm/Bitcode/BitcodeReader.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Object/ArchiveWriter.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "codegen/artefact_driver_bitcode.h"  // made by the build
#include "codegen/artefact_header.h"
#include "codegen/compile.h"
#include "codegen/emit.h"
#include "codegen/emit_machine.h"

namespace gradus::codegen {
namespace {

using llvm::Constant;
using runtime::BufferReference;
using runtime::Executable;

std::unique_ptr<llvm::Module> driver_module(llvm::LLVMContext& context, bool aarch64) {
  const std::span<const unsigned char> bytes = aarch64
                                                   ? std::span<const unsigned char>(kDriverAarch64)
                                                   : std::span<const unsigned char>(kDriverX86_64);
  const llvm::StringRef text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  auto module = llvm::parseBitcodeFile(llvm::MemoryBufferRef(text, "driver"), context);
  if (!module) throw InternalError(llvm::toString(module.takeError()));
  (*module)->setModuleIdentifier("gradus");
  (*module)->setSourceFileName("gradus");
  return std::move(*module);
}

/// Constants of the tables; every member of a struct is 64 bits wide.
class Tables {
 public:
  explicit Tables(llvm::Module& module)
      : module_(module), word_(llvm::Type::getInt64Ty(module.getContext())) {}

  Constant* number(std::int64_t value) { return llvm::ConstantInt::getSigned(word_, value); }
  Constant* null() { return llvm::ConstantPointerNull::get(llvm::PointerType::get(word_, 0)); }
  Constant* record(llvm::ArrayRef<Constant*> members) {
    return llvm::ConstantStruct::getAnon(members);
  }
  /// The address of an array of equal elements; null where there are none.
  Constant* array(const std::vector<Constant*>& elements, const char* name) {
    if (elements.empty()) return null();
    return keep(llvm::ConstantArray::get(
                    llvm::ArrayType::get(elements[0]->getType(), elements.size()), elements),
                name);
  }
  Constant* text(const std::string& text) {
    Constant*& known = texts_[text];
    if (known == nullptr) {
      known = keep(llvm::ConstantDataArray::getString(module_.getContext(), text), "text");
    }
    return known;
  }
  Constant* bytes(std::span<const std::byte> bytes) {
    if (bytes.empty()) return null();
    const llvm::StringRef view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    llvm::GlobalVariable* variable =
        keep(llvm::ConstantDataArray::getRaw(view, view.size(),
                                             llvm::Type::getInt8Ty(module_.getContext())),
             "constants");
    variable->setAlignment(llvm::Align(runtime::kBufferAlignment));
    return variable;
  }
  /// Defines an array that the driver declares.
  void define(const char* name, const std::vector<Constant*>& elements) {
    llvm::GlobalVariable* declared = module_.getNamedGlobal(name);
    GRADUS_CHECK(declared != nullptr, "the driver has no " + std::string(name));
    declared->replaceAllUsesWith(array(elements, name));
    declared->eraseFromParent();
  }

 private:
  llvm::GlobalVariable* keep(Constant* value, const std::string& name) {
    const std::string unique = name + "." + std::to_string(count_++);
    auto* variable =
        llvm::cast<llvm::GlobalVariable>(module_.getOrInsertGlobal(unique, value->getType()));
    variable->setInitializer(value);
    variable->setConstant(true);
    variable->setLinkage(llvm::GlobalValue::InternalLinkage);
    variable->setDSOLocal(true);
    return variable;
  }

  llvm::Module& module_;
  llvm::Type* word_;
  int count_ = 0;
  std::map<std::string, Constant*> texts_;
};

/// A processor without fma: calls the driver's, lane by lane, instead of libm's, which knows
/// nothing of flushing.
void call_drivers_fma(llvm::Function& function, llvm::Module& module) {
  std::vector<llvm::IntrinsicInst*> calls;
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& instruction : block) {
      auto* call = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction);
      if (call != nullptr && call->getIntrinsicID() == llvm::Intrinsic::fma) calls.push_back(call);
    }
  }
  for (llvm::IntrinsicInst* call : calls) {
    llvm::IRBuilder<> b(call);
    llvm::Type* type = call->getType();
    llvm::Function* fma = module.getFunction(type->getScalarType()->isFloatTy() ? "gradus_fma_f32"
                                                                                : "gradus_fma_f64");
    GRADUS_CHECK(fma != nullptr, "the driver has no fma");
    const auto argument = [&](unsigned i) { return call->getArgOperand(i); };
    llvm::Value* result = nullptr;
    if (const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type)) {
      result = llvm::PoisonValue::get(type);
      for (unsigned lane = 0; lane < vector->getNumElements(); ++lane) {
        const auto element = [&](unsigned i) { return b.CreateExtractElement(argument(i), lane); };
        llvm::Value* one = b.CreateCall(fma, {element(0), element(1), element(2)});
        result = b.CreateInsertElement(result, one, lane);
      }
    } else {
      result = b.CreateCall(fma, {argument(0), argument(1), argument(2)});
    }
    call->replaceAllUsesWith(result);
    call->eraseFromParent();
  }
}

std::string symbol_suffix(InstructionSet set) {
  std::string suffix = "_" + std::string(to_string(set));
  std::ranges::replace(suffix, '-', '_');
  return suffix;
}

/// The psABI's level, by which the driver judges the processor.
std::int64_t level(InstructionSet set) {
  switch (set) {
    case InstructionSet::x86_64_v3:
      return 3;
    case InstructionSet::x86_64_v4:
      return 4;
    default:
      return 1;
  }
}

template <typename Named>
std::int64_t position_of(std::span<const Named> all, const std::string& name) {
  const auto at = std::ranges::find(all, name, &Named::name);
  GRADUS_CHECK(at != all.end(), "the functions of a model differ: " + name);
  return at - all.begin();
}

class ArtefactBuilder {
 public:
  ArtefactBuilder(const ArtefactModel& model, std::span<const ArtefactFunction> functions,
                  llvm::Module& module, const DebugOptions& debug)
      : model_(model), functions_(functions), module_(module), tables_(module) {
    if (debug.lines) debug_.emplace(module, debug.directory);
  }

  void add_variant(InstructionSet set, const ArtefactOptions& options);
  /// When all variants are there: the header's functions, and everything else hidden.
  void finish();
  /// The symbols of the kernels.
  [[nodiscard]] const std::vector<std::string>& kernels() const { return kernels_; }

 private:
  /// The greatest of all programs of a variant.
  struct Sizes {
    std::int64_t arena = 0;
    std::int64_t scratch = 0;
    std::int64_t inputs = 0;  // bytes, each input aligned
    std::int64_t input_count = 0;
    std::int64_t buffers = 0;  // of the steps of a chain
  };
  /// What the last chain of a loop says of it: how many chains it has; none elsewhere.
  struct LoopEnd {
    std::int64_t chains = 0;
    std::int64_t length = 0;
  };
  /// A kernel's function and the scratch that it needs.
  struct Code {
    llvm::Function* function = nullptr;
    std::int64_t scratch_bytes = 0;
  };

  [[nodiscard]] std::vector<Code> emit(std::span<const Kernel> kernels, const Target& target);
  [[nodiscard]] Constant* buffer(const BufferReference& reference, const Executable& executable,
                                 const ArtefactFunction& function);
  [[nodiscard]] Constant* chain(const runtime::Chain& chain, const Executable& executable,
                                std::span<const Code> code, const ArtefactFunction& function,
                                const LoopEnd& loop, Sizes& sizes);
  [[nodiscard]] Constant* program(const ArtefactProgram& program, const Executable& executable,
                                  std::span<const Code> code, Sizes& sizes);
  [[nodiscard]] std::vector<Constant*> outputs(const ArtefactProgram& program,
                                               const Executable& executable,
                                               const ArtefactFunction& function);
  [[nodiscard]] llvm::Function* declare(const ArtefactFunction& function);
  [[nodiscard]] llvm::Function* wrapper(const ArtefactFunction& function, std::int64_t number);
  void hide_all_but(const std::set<const llvm::Function*>& visible);
  Constant* number(std::int64_t value) { return tables_.number(value); }
  Constant* size_of(const auto& list) { return number(static_cast<std::int64_t>(list.size())); }

  const ArtefactModel& model_;
  std::span<const ArtefactFunction> functions_;
  llvm::Module& module_;
  Tables tables_;
  std::optional<DebugInfo> debug_;
  std::vector<Constant*> variants_;
  std::vector<std::string> kernels_;
};

void ArtefactBuilder::add_variant(InstructionSet set, const ArtefactOptions& options) {
  const Target target = make_target(set);
  CompileOptions compile;
  compile.set = set;
  compile.fuse = options.fuse;
  compile.tuner = options.tuner;
  std::vector<Executable> executables;
  std::vector<Kernel> kernels;
  for (const ArtefactProgram& program : model_.programs) {
    Plan plan = options.plan(program, compile);
    executables.push_back(place(plan, model_.layout));
    for (ScheduledKernel& scheduled : plan.kernels) kernels.push_back(std::move(scheduled.kernel));
  }
  const std::vector<Code> code = emit(kernels, target);
  Sizes sizes;
  std::vector<Constant*> programs;
  std::size_t first = 0;
  for (std::size_t i = 0; i < executables.size(); ++i) {
    const std::size_t steps = executables[i].steps.size();
    programs.push_back(
        program(model_.programs[i], executables[i], std::span(code).subspan(first, steps), sizes));
    first += steps;
  }
  variants_.push_back(
      tables_.record({number(level(set)), tables_.text(std::string(to_string(set))),
                      tables_.array(programs, "programs"), size_of(programs), number(sizes.arena),
                      number(sizes.scratch), number(sizes.inputs), number(sizes.input_count),
                      number(sizes.buffers)}));
}

std::vector<ArtefactBuilder::Code> ArtefactBuilder::emit(std::span<const Kernel> kernels,
                                                         const Target& target) {
  std::map<std::string, Code> known;
  std::vector<Code> result;
  const std::vector<std::string> symbols = kernel_symbols(kernels);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const auto [at, added] = known.try_emplace(symbols[i] + symbol_suffix(target.set));
    if (added) {
      at->second.scratch_bytes =
          emit_kernel(kernels[i], target, at->first, module_, debug_ ? &*debug_ : nullptr);
      at->second.function = module_.getFunction(at->first);
      kernels_.push_back(at->first);
      if (!target.fma) call_drivers_fma(*at->second.function, module_);
    }
    result.push_back(at->second);
  }
  return result;
}

Constant* ArtefactBuilder::buffer(const BufferReference& reference, const Executable& executable,
                                  const ArtefactFunction& function) {
  std::int64_t offset = reference.offset;
  if (reference.space == runtime::Space::input) {  // the passes may have dropped inputs
    const std::string& name = executable.inputs[static_cast<std::size_t>(offset)].name;
    offset = position_of(std::span(function.inputs), name);
  }
  return tables_.record({number(static_cast<std::int64_t>(reference.space)), number(offset),
                         number(reference.begin), number(reference.stride)});
}

std::vector<Constant*> ArtefactBuilder::outputs(const ArtefactProgram& program,
                                                const Executable& executable,
                                                const ArtefactFunction& function) {
  std::vector<Constant*> result(function.outputs.size());
  GRADUS_CHECK(executable.outputs.size() == result.size(), "programs of a function differ");
  for (const runtime::ExecutableOutput& output : executable.outputs) {
    const bool finite = std::ranges::find(program.finite, output.name) != program.finite.end();
    GRADUS_CHECK(!finite || (is_float(output.type.element) && output.type.shape.empty()),
                 "only a float scalar is checked");
    result[static_cast<std::size_t>(position_of(std::span(function.outputs), output.name))] =
        tables_.record({buffer(output.buffer, executable, function),
                        number(output.type.byte_size()), number(finite ? 1 : 0)});
  }
  return result;
}

constexpr std::size_t kDriversLongestChain = 8;  // of artefact_driver.c
static_assert(runtime::kLongestChain == kDriversLongestChain);

Constant* ArtefactBuilder::chain(const runtime::Chain& chain, const Executable& executable,
                                 std::span<const Code> code, const ArtefactFunction& function,
                                 const LoopEnd& loop, Sizes& sizes) {
  std::vector<Constant*> steps;
  std::int64_t buffer_count = 0;
  std::int64_t most_workers = 1;
  for (std::size_t i = chain.first; i < chain.first + chain.count; ++i) {
    const runtime::Step& step = executable.steps[i];
    std::vector<Constant*> buffers;
    for (const BufferReference& reference : step.buffers) {
      buffers.push_back(buffer(reference, executable, function));
    }
    steps.push_back(
        tables_.record({code[i].function, tables_.array(buffers, "buffers"), size_of(buffers),
                        number(step.tasks), tables_.text(step.provenance)}));
    buffer_count += static_cast<std::int64_t>(buffers.size());
    most_workers = std::max(most_workers, step.most_workers());
    sizes.scratch = std::max(sizes.scratch, code[i].scratch_bytes);
  }
  sizes.buffers = std::max(sizes.buffers, buffer_count);
  return tables_.record({tables_.array(steps, "steps"), size_of(steps), number(chain.units),
                         number(most_workers), number(loop.chains), number(loop.length)});
}

Constant* ArtefactBuilder::program(const ArtefactProgram& program, const Executable& executable,
                                   std::span<const Code> code, Sizes& sizes) {
  const std::int64_t function_number = position_of(functions_, program.function);
  const ArtefactFunction& function = functions_[static_cast<std::size_t>(function_number)];
  std::vector<Constant*> chains;
  std::map<std::size_t, std::int64_t> numbers;  // of chains, by first step
  for (runtime::Turns turns(executable); !turns.at_end(); turns.advance()) {
    const runtime::Chain& chain = turns->chain;
    const auto number = static_cast<std::int64_t>(chains.size());
    if (!numbers.emplace(chain.first, number).second) continue;  // in a loop again
    LoopEnd end;
    for (const runtime::Loop& loop : executable.loops) {
      if (chain.first + chain.count != loop.first + loop.count) continue;
      end = {number - numbers.at(loop.first) + 1, loop.length};
    }
    chains.push_back(this->chain(chain, executable, code, function, end, sizes));
  }
  std::vector<Constant*> input_bytes(function.inputs.size());
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < input_bytes.size(); ++i) {
    const ir::Value input = *program.graph.find_input(function.inputs[i].name);
    const std::int64_t size = program.graph.type(input).byte_size();
    input_bytes[i] = number(size);
    bytes += (size + runtime::kBufferAlignment - 1) / runtime::kBufferAlignment *
             runtime::kBufferAlignment;
  }
  sizes.arena = std::max(sizes.arena, executable.arena_bytes);
  sizes.inputs = std::max(sizes.inputs, bytes);
  sizes.input_count =
      std::max(sizes.input_count, static_cast<std::int64_t>(function.inputs.size()));
  const std::vector<Constant*> results = outputs(program, executable, function);
  return tables_.record(
      {number(function_number), number(program.examples), tables_.array(chains, "chains"),
       size_of(chains), tables_.array(input_bytes, "input_bytes"), size_of(input_bytes),
       tables_.array(results, "outputs"), size_of(results), tables_.bytes(executable.constants)});
}

llvm::Function* ArtefactBuilder::declare(const ArtefactFunction& function) {
  llvm::LLVMContext& context = module_.getContext();
  llvm::Type* pointer = llvm::PointerType::get(context, 0);
  std::vector<llvm::Type*> types = {pointer, pointer};
  if (!function.batches.empty()) types.push_back(llvm::Type::getInt64Ty(context));
  const std::size_t first = types.size();
  for (const ArtefactArgument& input : function.inputs) {
    types.push_back(pointer);
    if (!input.by_value) continue;
    const auto bits = static_cast<unsigned>(8 * byte_size(input.type.element));
    types.back() = llvm::Type::getIntNTy(context, bits);
    if (input.type.element == ElementType::f32) types.back() = llvm::Type::getFloatTy(context);
    if (input.type.element == ElementType::f64) types.back() = llvm::Type::getDoubleTy(context);
  }
  types.insert(types.end(), function.outputs.size(), pointer);
  llvm::Function* result = llvm::Function::Create(
      llvm::FunctionType::get(llvm::Type::getInt32Ty(context), types, /*isVarArg=*/false),
      llvm::Function::ExternalLinkage, model_.name + "_" + function.name, module_);
  for (std::size_t i = 0; i < function.inputs.size(); ++i) {
    const auto argument = static_cast<unsigned>(first + i);
    if (types[argument]->isIntegerTy(8)) result->addParamAttr(argument, llvm::Attribute::ZExt);
  }
  result->setDoesNotThrow();
  return result;
}

/// Puts the arguments into the arrays that the driver takes.
llvm::Function* ArtefactBuilder::wrapper(const ArtefactFunction& function, std::int64_t position) {
  llvm::Function* result = declare(function);
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(module_.getContext(), "entry", result));
  unsigned next = 2;
  llvm::Value* examples = b.getInt64(0);
  if (!function.batches.empty()) examples = result->getArg(next++);
  const auto list = [&](const std::vector<ArtefactArgument>& arguments) -> llvm::Value* {
    llvm::Value* array = b.CreateAlloca(llvm::ArrayType::get(b.getPtrTy(), arguments.size()));
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      llvm::Value* value = result->getArg(next++);
      if (arguments[i].by_value) {
        llvm::AllocaInst* place = b.CreateAlloca(value->getType());
        place->setAlignment(llvm::Align(runtime::kBufferAlignment));
        b.CreateStore(value, place);
        value = place;
      }
      b.CreateStore(value, b.CreateConstGEP1_64(b.getPtrTy(), array, i));
    }
    return array;
  };
  llvm::Value* inputs = list(function.inputs);
  llvm::Value* outputs = list(function.outputs);
  llvm::Function* run = module_.getFunction("gradus_run");
  GRADUS_CHECK(run != nullptr, "the driver lacks a function");
  b.CreateRet(b.CreateCall(
      run, {result->getArg(0), number(position), examples, result->getArg(1), inputs, outputs}));
  return result;
}

void ArtefactBuilder::hide_all_but(const std::set<const llvm::Function*>& visible) {
  const auto hide = [&](llvm::GlobalValue& value) {
    if (!value.isDeclaration()) value.setLinkage(llvm::GlobalValue::InternalLinkage);
  };
  for (llvm::Function& function : module_) {
    if (!visible.contains(&function)) hide(function);
  }
  for (bool dropped = true; dropped;) {
    dropped = false;
    const auto drop = [&](auto&& values) {
      for (auto at = values.begin(); at != values.end();) {
        auto& value = *at++;
        if (!value.use_empty() || !(value.isDeclaration() || value.hasLocalLinkage())) continue;
        value.eraseFromParent();
        dropped = true;
      }
    };
    drop(module_.functions());
    drop(module_.globals());
  }
}

void ArtefactBuilder::finish() {
  tables_.define("gradus_variants", variants_);
  tables_.define("gradus_variant_count", {size_of(variants_)});
  std::set<const llvm::Function*> visible;
  for (const char* name : {"open", "close", "isa", "place", "describe", "shuffle"}) {
    if (std::string_view(name) == "shuffle" && !model_.shuffles) continue;
    llvm::Function* function = module_.getFunction(std::string("gradus_") + name);
    GRADUS_CHECK(function != nullptr, "the driver lacks a function");
    function->setName(model_.name + "_" + name);
    visible.insert(function);
  }
  for (std::size_t i = 0; i < functions_.size(); ++i) {
    visible.insert(wrapper(functions_[i], static_cast<std::int64_t>(i)));
  }
  hide_all_but(visible);
  if (debug_) debug_->finish();
}

/// Native by its name, none twice, the greatest first.
std::vector<InstructionSet> ordered(std::span<const InstructionSet> sets) {
  std::set<InstructionSet, std::greater<>> all;
  for (InstructionSet set : sets) {
    all.insert(set == InstructionSet::native ? greatest_supported() : set);
  }
  return {all.begin(), all.end()};
}

}  // namespace

Artefact make_artefact(const ArtefactModel& model, const ArtefactOptions& options) {
  const std::vector<InstructionSet> sets = ordered(options.sets);
  GRADUS_CHECK(!sets.empty() && same_family(sets.front(), sets.back()), "one processor family");
  const bool aarch64 = sets[0] == InstructionSet::aarch64;
  const std::vector<ArtefactFunction> functions = artefact_functions(model);
  llvm::LLVMContext context;
  const std::unique_ptr<llvm::Module> module = driver_module(context, aarch64);
  const auto machine = target_machine(make_target(sets.back()));
  module->setTargetTriple(machine->getTargetTriple().str());
  module->setDataLayout(machine->createDataLayout());
  ArtefactBuilder builder(model, functions, *module, options.debug);
  for (InstructionSet set : sets) builder.add_variant(set, options);
  builder.finish();
  std::string message;
  llvm::raw_string_ostream stream(message);
  if (llvm::verifyModule(*module, &stream)) throw InternalError("LLVM refuses: " + message);
  return {machine_code(*module, *machine, options.form), artefact_header(model, functions, sets),
          builder.kernels()};
}

bool same_family(InstructionSet a, InstructionSet b) {
  return (a == InstructionSet::aarch64) == (b == InstructionSet::aarch64);
}

std::string make_archive(const std::string& member, const std::string& object) {
  const llvm::MemoryBufferRef bytes(object, member);
  const llvm::NewArchiveMember members[] = {llvm::NewArchiveMember(bytes)};
  auto archive = llvm::writeArchiveToBuffer(members, llvm::SymtabWritingMode::NormalSymtab,
                                            llvm::object::Archive::K_GNU, /*Deterministic=*/true,
                                            /*Thin=*/false);
  if (!archive) throw InternalError(llvm::toString(archive.takeError()));
  return (*archive)->getBuffer().str();
}

}  // namespace gradus::codegen
