#pragma once

// Sums of multiples of positions, which addresses and guards are made of. What differs only by a
// constant shares all else. Private to the emitter.

#include <llvm/IR/IRBuilder.h>

#include <cstdint>
#include <functional>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace gradus::codegen {

/// variable + constant; null: the constant alone. All are i64.
struct Sum {
  llvm::Value* variable = nullptr;
  std::int64_t constant = 0;
};

/// Emits sums, each once where it is available: in the scope of its first use.
class SumEmitter {
 public:
  explicit SumEmitter(llvm::IRBuilder<>& builder) : b_(builder) {}

  /// sum + factor * value; what `value` adds as a constant becomes part of the constant.
  [[nodiscard]] Sum plus(Sum sum, llvm::Value* value, std::int64_t factor);
  /// The sum as one value.
  [[nodiscard]] llvm::Value* value(const Sum& sum);
  /// Address of element `sum` of the elements of `type` at `first`.
  [[nodiscard]] llvm::Value* address(llvm::Type* type, llvm::Value* first, const Sum& sum);

  /// Emits `body`, whose instructions are not available afterwards.
  void scope(const std::function<void()>& body);

 private:
  enum class Kind : std::uint8_t { product, sum, address };
  using Key = std::tuple<Kind, llvm::Value*, llvm::Value*, llvm::Type*>;
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  llvm::Value* once(const Key& key, const std::function<llvm::Value*()>& emit);

  llvm::IRBuilder<>& b_;
  std::unordered_map<Key, llvm::Value*, Hash> available_;
  std::vector<Key> order_;  // in which they became available
};

}  // namespace gradus::codegen
