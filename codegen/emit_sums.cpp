#include "codegen/emit_sums.h"

#include <llvm/ADT/Hashing.h>
#include <llvm/IR/DataLayout.h>
#include <llvm/IR/Module.h>

namespace gradus::codegen {

using llvm::Value;

std::size_t SumEmitter::Hash::operator()(const Key& key) const {
  return llvm::hash_combine(std::get<0>(key), std::get<1>(key), std::get<2>(key), std::get<3>(key));
}

Value* SumEmitter::once(const Key& key, const std::function<Value*()>& emit) {
  Value*& known = available_[key];
  if (known == nullptr) {
    known = emit();
    order_.push_back(key);
  }
  return known;
}

Sum SumEmitter::plus(Sum sum, Value* value, std::int64_t factor) {
  while (auto* addition = llvm::dyn_cast<llvm::BinaryOperator>(value)) {
    if (addition->getOpcode() != llvm::Instruction::Add) break;
    const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(addition->getOperand(1));
    if (constant == nullptr) break;
    sum.constant += factor * constant->getSExtValue();
    value = addition->getOperand(0);
  }
  if (const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(value)) {
    sum.constant += factor * constant->getSExtValue();
    return sum;
  }
  Value* by = b_.getInt64(static_cast<std::uint64_t>(factor));
  Value* product = factor == 1 ? value : once({Kind::product, value, by, nullptr}, [&] {
    return b_.CreateMul(value, by);
  });
  Value* others = sum.variable;
  sum.variable = others == nullptr ? product : once({Kind::sum, others, product, nullptr}, [&] {
    return b_.CreateAdd(others, product);
  });
  return sum;
}

Value* SumEmitter::value(const Sum& sum) {
  Value* constant = b_.getInt64(static_cast<std::uint64_t>(sum.constant));
  if (sum.variable == nullptr) return constant;
  if (sum.constant == 0) return sum.variable;
  return once({Kind::sum, sum.variable, constant, nullptr},
              [&] { return b_.CreateAdd(sum.variable, constant); });
}

Value* SumEmitter::address(llvm::Type* type, Value* first, const Sum& sum) {
  Value* address = first;
  if (sum.variable != nullptr) {
    address = once({Kind::address, first, sum.variable, type},
                   [&] { return b_.CreateGEP(type, first, sum.variable); });
  }
  if (sum.constant == 0) return address;
  return b_.CreateConstGEP1_64(type, address, static_cast<std::uint64_t>(sum.constant));
}

void SumEmitter::scope(const std::function<void()>& body) {
  const std::size_t before = order_.size();
  body();
  for (; order_.size() > before; order_.pop_back()) available_.erase(order_.back());
}

}  // namespace gradus::codegen
