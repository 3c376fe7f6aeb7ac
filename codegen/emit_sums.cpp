#include "codegen/emit_sums.h"

#include <llvm/ADT/Hashing.h>

#include <algorithm>

namespace gradus::codegen {

using llvm::Value;

void Linear::add(Value* value, std::int64_t factor) {
  while (const auto* addition = llvm::dyn_cast<llvm::BinaryOperator>(value)) {
    if (addition->getOpcode() != llvm::Instruction::Add) break;
    const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(addition->getOperand(1));
    if (constant == nullptr) break;
    constant_ += factor * constant->getSExtValue();
    value = addition->getOperand(0);
  }
  if (const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(value)) {
    constant_ += factor * constant->getSExtValue();
    return;
  }
  const auto known = std::ranges::find(terms_, value, &std::pair<Value*, std::int64_t>::first);
  if (known == terms_.end()) {
    if (factor != 0) terms_.emplace_back(value, factor);
  } else if ((known->second += factor) == 0) {
    terms_.erase(known);
  }
}

std::size_t SumEmitter::Hash::operator()(const Key& key) const {
  return llvm::hash_combine(key.kind, llvm::hash_combine_range(key.of.begin(), key.of.end()),
                            llvm::hash_combine_range(key.numbers.begin(), key.numbers.end()));
}

Value* SumEmitter::once(const Key& key, const std::function<Value*()>& emit) {
  if (const auto known = available_.find(key); known != available_.end()) return known->second;
  order_.push_back(key);
  return available_[key] = emit();
}

Value* SumEmitter::product(Value* value, std::int64_t factor) {
  if (factor == 1) return value;
  return once({Kind::product, {value}, {factor}},
              [&] { return b_.CreateMul(value, b_.getInt64(static_cast<std::uint64_t>(factor))); });
}

Value* SumEmitter::plus(Value* x, Value* y) {
  if (x == nullptr) return y;
  return once({Kind::sum, {x, y}}, [&] { return b_.CreateAdd(x, y); });
}

Sum SumEmitter::emit(const Linear& linear) {
  Sum sum{nullptr, linear.constant_};
  for (const auto& [value, factor] : linear.terms_) {
    sum.variable = plus(sum.variable, product(value, factor));
  }
  return sum;
}

Sum SumEmitter::plus(const Sum& sum, Value* value, std::int64_t factor) {
  Linear linear(sum.constant);
  linear.add(value, factor);
  const Sum other = emit(linear);
  if (other.variable == nullptr) return {sum.variable, other.constant};
  return {plus(sum.variable, other.variable), other.constant};
}

Value* SumEmitter::value(const Sum& sum) {
  Value* constant = b_.getInt64(static_cast<std::uint64_t>(sum.constant));
  if (sum.variable == nullptr) return constant;
  return sum.constant == 0 ? sum.variable : plus(sum.variable, constant);
}

Value* SumEmitter::address(llvm::Type* type, Value* first, const Sum& sum) {
  Value* address = first;
  if (sum.variable != nullptr) {
    address = once({Kind::address, {first, sum.variable, type}},
                   [&] { return b_.CreateGEP(type, first, sum.variable); });
  }
  if (sum.constant == 0) return address;
  return b_.CreateConstGEP1_64(type, address, static_cast<std::uint64_t>(sum.constant));
}

// One unsigned comparison checks both bounds: 0 <= sum < extent * divisor.
Value* SumEmitter::within(const Sum& sum, std::int64_t divisor, std::int64_t extent) {
  return once({Kind::within, {sum.variable}, {sum.constant, divisor, extent}}, [&] {
    Value* x = value(sum);
    const auto number = [&](std::int64_t n) { return b_.getInt64(static_cast<std::uint64_t>(n)); };
    Value* holds = b_.CreateICmpULT(x, number(extent * divisor));
    if (divisor == 1) return holds;
    return b_.CreateAnd(holds, b_.CreateICmpEQ(b_.CreateURem(x, number(divisor)), number(0)));
  });
}

void SumEmitter::scope(const std::function<void()>& body) {
  const std::size_t before = order_.size();
  body();
  for (; order_.size() > before; order_.pop_back()) available_.erase(order_.back());
}

}  // namespace gradus::codegen
