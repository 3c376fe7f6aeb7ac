#include "codegen/emit_shared_body.h"

#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

#include <map>

#include "codegen/emit_scalar.h"

namespace gradus::codegen {
namespace {

using ir::ScalarInstruction;
using ir::ScalarOp;
using llvm::Value;

constexpr std::int64_t kTableEntry = 4;  // bytes

/// Where a function finds what an instruction of it works on.
struct Source {
  enum class Kind : std::uint8_t { inside, argument, table, literal } kind;
  std::size_t number = 0;  // of the instruction inside, of the argument, of the entry
  ElementType type = ElementType::f32;
  std::uint64_t bits = 0;  // of a literal
};

/// A part of a program without its constants, and what a caller passes for them.
class Skeleton {
 public:
  std::string key;                             // equal parts have the same function
  std::vector<Value*> arguments;               // of this caller
  std::vector<std::uint32_t> table;            // constants of this caller
  std::vector<std::array<Source, 3>> sources;  // by instruction of the part
  std::map<std::size_t, std::size_t> inside;   // instructions of the part, by their number

  Skeleton(const FlatProgram& program, std::span<const std::size_t> part,
           std::span<const std::size_t> results, int lanes,
           const std::function<Value*(std::size_t)>& outside)
      : program_(program), outside_(outside) {
    add(static_cast<std::uint64_t>(lanes));
    for (std::size_t i : part) {
      const ScalarInstruction& instruction = program.code[i];
      add(static_cast<std::uint64_t>(instruction.op));
      add(static_cast<std::uint64_t>(instruction.type));
      add(instruction.immediate);
      sources.emplace_back();
      for (std::size_t a = 0; a < instruction.arguments.size(); ++a) {
        if (instruction.arguments[a] < 0) break;
        const bool amount = a == 1 && (instruction.op == ScalarOp::shift_left ||
                                       instruction.op == ScalarOp::shift_right);
        sources.back()[a] = source(static_cast<std::size_t>(instruction.arguments[a]), amount);
        add(sources.back()[a]);
      }
      inside.emplace(i, inside.size());
    }
    for (std::size_t result : results) add(inside.at(result));
  }

 private:
  /// Machines shift by literals.
  Source source(std::size_t i, bool literal) {
    const ScalarInstruction& instruction = program_.code[i];
    const ElementType type = instruction.type;
    if (const auto own = inside.find(i); own != inside.end()) {
      return {Source::Kind::inside, own->second, type};
    }
    if (instruction.op != ScalarOp::constant) {
      const auto [at, added] = argument_.emplace(i, arguments.size());
      if (added) arguments.push_back(outside_(i));
      return {Source::Kind::argument, at->second, type};
    }
    if (literal || byte_size(type) != kTableEntry) {
      return {Source::Kind::literal, 0, type, instruction.immediate};
    }
    const auto [at, added] = entry_.emplace(i, table.size());
    if (added) table.push_back(static_cast<std::uint32_t>(instruction.immediate));
    return {Source::Kind::table, at->second, type};
  }

  void add(std::uint64_t value) { key.append(reinterpret_cast<const char*>(&value), sizeof value); }
  void add(const Source& source) {
    add(static_cast<std::uint64_t>(source.kind));
    add(source.number);
    add(static_cast<std::uint64_t>(source.type));
    add(source.bits);
    if (source.kind == Source::Kind::argument) {
      add(static_cast<std::uint64_t>(arguments[source.number]->getType()->isVectorTy()));
    }
  }

  const FlatProgram& program_;
  const std::function<Value*(std::size_t)>& outside_;
  std::map<std::size_t, std::size_t> argument_;
  std::map<std::size_t, std::size_t> entry_;
};

std::string name_of(const Skeleton& skeleton, const Target& target) {
  llvm::SHA256 hash;
  hash.update(skeleton.key);
  const auto digest = hash.final();
  return "gradus_body_" + std::string(to_string(target.set)) + "_" +
         llvm::toHex(llvm::ArrayRef<std::uint8_t>(digest.data(), digest.size()),
                     /*LowerCase=*/true);
}

/// Emits the body of a function (table of constants, arguments) at the builder's place.
std::vector<Value*> emit_part(EmitContext& c, const FlatProgram& program,
                              std::span<const std::size_t> part, const Skeleton& skeleton,
                              llvm::Function& function, int lanes) {
  std::vector<Value*> values, entries(skeleton.table.size());
  const auto entry = [&](const Source& source) {
    Value*& value = entries[source.number];
    if (value == nullptr) {
      llvm::Type* type = c.register_type(source.type);
      Value* address = c.b.CreateConstGEP1_64(type, function.getArg(0), source.number);
      value = c.splat(c.b.CreateAlignedLoad(type, address, llvm::Align(kTableEntry)), lanes);
    }
    return value;
  };
  const auto value_of = [&](const Source& source) -> Value* {
    switch (source.kind) {
      case Source::Kind::inside:
        return values[source.number];
      case Source::Kind::argument:
        return c.splat(function.getArg(static_cast<unsigned>(source.number) + 1), lanes);
      case Source::Kind::table:
        return entry(source);
      case Source::Kind::literal:
        break;
    }
    return emit_constant(c, source.type, source.bits, lanes);
  };
  for (std::size_t p = 0; p < part.size(); ++p) {
    const ScalarInstruction& instruction = program.code[part[p]];
    std::array<Value*, 3> arguments{};
    std::size_t count = 0;
    while (count < arguments.size() && instruction.arguments[count] >= 0) {
      arguments[count] = value_of(skeleton.sources[p][count]);
      ++count;
    }
    values.push_back(emit_operation(c, instruction, skeleton.sources[p][0].type,
                                    std::span(arguments.data(), count), lanes));
  }
  return values;
}

llvm::Function* shared_function(EmitContext& c, const FlatProgram& program,
                                std::span<const std::size_t> part,
                                std::span<const std::size_t> results, const Skeleton& skeleton,
                                int lanes) {
  llvm::Module& module = *c.function->getParent();
  const std::string name = name_of(skeleton, c.target);
  if (llvm::Function* known = module.getFunction(name)) return known;
  std::vector<llvm::Type*> given{c.b.getPtrTy()}, returned;
  for (const Value* argument : skeleton.arguments) given.push_back(argument->getType());
  for (std::size_t result : results) {
    returned.push_back(EmitContext::lanes_type(c.register_type(program.code[result].type), lanes));
  }
  auto* signature = llvm::FunctionType::get(llvm::StructType::get(module.getContext(), returned),
                                            given, /*isVarArg=*/false);
  llvm::Function* function =
      llvm::Function::Create(signature, llvm::Function::InternalLinkage, name, module);
  function->addFnAttrs(
      llvm::AttrBuilder(module.getContext(), c.function->getAttributes().getFnAttrs()));
  const llvm::IRBuilderBase::InsertPointGuard guard(c.b);
  c.b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", function));
  c.b.SetCurrentDebugLocation({});  // it belongs to no kernel
  const std::vector<Value*> values = emit_part(c, program, part, skeleton, *function, lanes);
  Value* all = llvm::PoisonValue::get(signature->getReturnType());
  for (unsigned r = 0; r < results.size(); ++r) {
    all = c.b.CreateInsertValue(all, values[skeleton.inside.at(results[r])], r);
  }
  c.b.CreateRet(all);
  return function;
}

/// The module's data of that content.
llvm::GlobalVariable* shared_table(llvm::Module& module, llvm::Constant* table) {
  constexpr const char* kPrefix = "gradus_constants.";
  for (llvm::GlobalVariable& known : module.globals()) {
    if (known.getName().starts_with(kPrefix) && known.getInitializer() == table) return &known;
  }
  const std::string name = kPrefix + std::to_string(module.global_size());
  auto* constants =
      llvm::cast<llvm::GlobalVariable>(module.getOrInsertGlobal(name, table->getType()));
  constants->setInitializer(table);
  constants->setConstant(true);
  constants->setLinkage(llvm::GlobalValue::PrivateLinkage);
  constants->setAlignment(llvm::Align(kTableEntry));
  return constants;
}

}  // namespace

std::vector<Value*> call_shared_body(EmitContext& c, const FlatProgram& program,
                                     std::span<const std::size_t> part,
                                     std::span<const std::size_t> results, int lanes,
                                     const std::function<Value*(std::size_t)>& outside) {
  Skeleton skeleton(program, part, results, lanes, outside);
  llvm::Function* function = shared_function(c, program, part, results, skeleton, lanes);
  llvm::Module& module = *c.function->getParent();
  llvm::Constant* table =
      llvm::ConstantDataArray::get(module.getContext(), llvm::ArrayRef(skeleton.table));
  std::vector<Value*> arguments{shared_table(module, table)};
  arguments.insert(arguments.end(), skeleton.arguments.begin(), skeleton.arguments.end());
  Value* all = c.b.CreateCall(function, arguments);
  std::vector<Value*> values;
  for (unsigned r = 0; r < results.size(); ++r) values.push_back(c.b.CreateExtractValue(all, r));
  return values;
}

}  // namespace gradus::codegen
