#include "codegen/emit_alike.h"

#include <llvm/IR/DebugInfoMetadata.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

namespace gradus::codegen {
namespace {

using llvm::Function;
using llvm::Instruction;
using llvm::Value;

/// Beyond, passing them costs more than is saved.
constexpr std::size_t kMostNumbers = 8;

/// An operand by the numbers of its instruction and of itself.
using Place = std::pair<std::size_t, unsigned>;

/// A function with its parts numbered in order.
struct Listing {
  Function* function = nullptr;
  std::vector<Instruction*> instructions;
  std::unordered_map<const Value*, std::size_t> number;  // of arguments, blocks, instructions

  explicit Listing(Function& f) : function(&f) {
    for (const llvm::Argument& argument : f.args()) number.emplace(&argument, number.size());
    for (llvm::BasicBlock& block : f) {
      number.emplace(&block, number.size());
      for (Instruction& instruction : block) {
        number.emplace(&instruction, number.size());
        instructions.push_back(&instruction);
      }
    }
  }
};

/// Whether an instruction may be given operand `o` instead of a constant.
bool may_be_given(const Instruction& instruction, unsigned o) {
  const Value* value = instruction.getOperand(o);
  if (instruction.getOpcode() == Instruction::Xor) return llvm::isa<llvm::ConstantInt>(value);
  const auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction);
  if (call == nullptr || call->isInlineAsm() || llvm::isa<llvm::IntrinsicInst>(call)) return false;
  if (!call->isArgOperand(&instruction.getOperandUse(o))) return false;
  return llvm::isa<llvm::ConstantInt>(value) || llvm::isa<llvm::GlobalVariable>(value);
}

bool same_metadata(const Instruction& a, const Instruction& b) {
  llvm::SmallVector<std::pair<unsigned, llvm::MDNode*>> of_a, of_b;
  a.getAllMetadataOtherThanDebugLoc(of_a);
  b.getAllMetadataOtherThanDebugLoc(of_b);
  return of_a == of_b;
}

bool same_operation(const Instruction& a, const Instruction& b) {
  if (!a.isSameOperationAs(&b) || !same_metadata(a, b)) return false;
  const auto* gep = llvm::dyn_cast<llvm::GetElementPtrInst>(&a);
  return gep == nullptr || gep->getSourceElementType() ==
                               llvm::cast<llvm::GetElementPtrInst>(b).getSourceElementType();
}

/// Adds to `places` where the functions differ; false where one cannot be the other.
bool compare(const Listing& a, const Listing& b, std::set<Place>& places) {
  const auto number = [](const Listing& listing, const Value* value) {
    const auto at = listing.number.find(value);
    return at == listing.number.end() ? listing.number.size() : at->second;
  };
  const auto same = [&](const Value* x, const Value* y) {
    return x == y || (number(a, x) == number(b, y) && number(a, x) != a.number.size());
  };
  if (a.instructions.size() != b.instructions.size() || a.number.size() != b.number.size() ||
      a.function->getFunctionType() != b.function->getFunctionType() ||
      a.function->getAttributes() != b.function->getAttributes()) {
    return false;
  }
  for (std::size_t i = 0; i < a.instructions.size(); ++i) {
    const Instruction& x = *a.instructions[i];
    const Instruction& y = *b.instructions[i];
    if (number(a, &x) != number(b, &y) || !same_operation(x, y)) return false;
    for (unsigned o = 0; o < x.getNumOperands(); ++o) {
      if (same(x.getOperand(o), y.getOperand(o))) continue;
      if (!may_be_given(x, o) || !may_be_given(y, o)) return false;
      places.emplace(i, o);
    }
    if (const auto* phi = llvm::dyn_cast<llvm::PHINode>(&x)) {
      if (!std::ranges::equal(phi->blocks(), llvm::cast<llvm::PHINode>(y).blocks(), same)) {
        return false;
      }
    }
  }
  return true;
}

/// Functions that are alike, the first one first.
struct Family {
  std::vector<Listing> members;
  std::set<Place> places;  // where they differ
};

/// What each member gives, by number; and for each place the number it is given.
struct Numbers {
  std::vector<std::vector<Value*>> given;
  std::vector<std::pair<Place, std::size_t>> at;
};

Numbers numbers_of(const Family& family) {
  Numbers numbers;
  std::map<std::vector<Value*>, std::size_t> known;
  numbers.given.resize(family.members.size());
  for (const Place& place : family.places) {
    std::vector<Value*> values;
    for (const Listing& member : family.members) {
      values.push_back(member.instructions[place.first]->getOperand(place.second));
    }
    const auto [number, added] = known.emplace(values, known.size());
    if (added) {
      for (std::size_t m = 0; m < values.size(); ++m) numbers.given[m].push_back(values[m]);
    }
    numbers.at.emplace_back(place, number->second);
  }
  return numbers;
}

/// The first member's body as a function of its own, which is given the numbers too.
Function& shared_function(const Listing& first, const Numbers& numbers) {
  Function& from = *first.function;
  std::vector<llvm::Type*> types(from.getFunctionType()->param_begin(),
                                 from.getFunctionType()->param_end());
  const auto own = static_cast<unsigned>(types.size());
  for (const Value* value : numbers.given[0]) types.push_back(value->getType());
  Function* to = Function::Create(
      llvm::FunctionType::get(from.getReturnType(), types, /*isVarArg=*/false),
      llvm::GlobalValue::InternalLinkage, "gradus_alike_" + from.getName(), from.getParent());
  to->setAttributes(from.getAttributes());
  to->setSubprogram(from.getSubprogram());
  to->splice(to->end(), &from);
  for (unsigned i = 0; i < own; ++i) {
    from.getArg(i)->replaceAllUsesWith(to->getArg(i));
    to->getArg(i)->takeName(from.getArg(i));
  }
  for (const auto& [place, number] : numbers.at) {
    first.instructions[place.first]->setOperand(place.second,
                                                to->getArg(own + static_cast<unsigned>(number)));
  }
  return *to;
}

/// `function` calls `shared` with its arguments and `given`.
void make_call(Function& function, Function& shared, const std::vector<Value*>& given,
               llvm::DISubprogram* place) {
  function.deleteBody();
  function.setSubprogram(place);
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(function.getContext(), "entry", &function));
  if (place != nullptr) {
    b.SetCurrentDebugLocation(
        llvm::DILocation::get(function.getContext(), place->getLine(), 0, place));
  }
  std::vector<Value*> arguments;
  for (llvm::Argument& argument : function.args()) arguments.push_back(&argument);
  arguments.insert(arguments.end(), given.begin(), given.end());
  b.CreateCall(&shared, arguments);
  b.CreateRetVoid();
}

void unite(const Family& family) {
  const Numbers numbers = numbers_of(family);
  if (family.members.size() < 2 || numbers.given[0].size() > kMostNumbers) return;
  Function& shared = shared_function(family.members[0], numbers);
  for (std::size_t m = 0; m < family.members.size(); ++m) {
    Function& function = *family.members[m].function;
    make_call(function, shared, numbers.given[m], m == 0 ? nullptr : function.getSubprogram());
  }
}

}  // namespace

void unite_alike(llvm::Module& module) {
  std::map<std::size_t, std::vector<Family>> families;  // by how many parts the functions have
  for (Function& function : module) {
    if (function.isDeclaration() || !function.hasExternalLinkage()) continue;
    Listing listing(function);
    std::vector<Family>& candidates = families[listing.number.size()];
    const auto family = std::ranges::find_if(candidates, [&](Family& candidate) {
      std::set<Place> places = candidate.places;
      if (!compare(candidate.members[0], listing, places)) return false;
      candidate.places = std::move(places);
      return true;
    });
    if (family != candidates.end()) {
      family->members.push_back(std::move(listing));
    } else {
      candidates.push_back({{}, {}});
      candidates.back().members.push_back(std::move(listing));
    }
  }
  for (const auto& [size, candidates] : families) {
    for (const Family& family : candidates) unite(family);
  }
}

}  // namespace gradus::codegen
