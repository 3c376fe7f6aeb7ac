#pragma once

// Sums of multiples of positions, which addresses and guards are made of. What differs only by a
// constant shares all else. Private to the emitter.

#include <llvm/IR/IRBuilder.h>

#include <array>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace gradus::codegen {

/// A sum of multiples of values plus a constant, all i64. What a value adds as a constant is part
/// of the constant; a value whose multiples cancel is not in it.
class Linear {
 public:
  explicit Linear(std::int64_t constant = 0) : constant_(constant) {}
  void add(llvm::Value* value, std::int64_t factor);

 private:
  friend class SumEmitter;
  std::vector<std::pair<llvm::Value*, std::int64_t>> terms_;
  std::int64_t constant_;
};

/// variable + constant; null: the constant alone.
struct Sum {
  llvm::Value* variable = nullptr;
  std::int64_t constant = 0;
};

/// Emits sums and what is made of them, each once where it is available: in the scope of its first
/// use.
class SumEmitter {
 public:
  explicit SumEmitter(llvm::IRBuilder<>& builder) : b_(builder) {}

  [[nodiscard]] Sum emit(const Linear& linear);
  /// sum + factor * value.
  [[nodiscard]] Sum plus(const Sum& sum, llvm::Value* value, std::int64_t factor);
  /// The sum as one value.
  [[nodiscard]] llvm::Value* value(const Sum& sum);
  /// Address of element `sum` of the elements of `type` at `first`.
  [[nodiscard]] llvm::Value* address(llvm::Type* type, llvm::Value* first, const Sum& sum);
  /// Whether divisor divides the sum and 0 <= sum / divisor < extent.
  [[nodiscard]] llvm::Value* within(const Sum& sum, std::int64_t divisor, std::int64_t extent);

  /// Emits `body`, whose instructions are not available afterwards.
  void scope(const std::function<void()>& body);

 private:
  enum class Kind : std::uint8_t { product, sum, address, within };
  struct Key {
    Kind kind;
    std::array<const void*, 3> of{};
    std::array<std::int64_t, 3> numbers{};
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  llvm::Value* once(const Key& key, const std::function<llvm::Value*()>& emit);
  llvm::Value* product(llvm::Value* value, std::int64_t factor);
  llvm::Value* plus(llvm::Value* x, llvm::Value* y);

  llvm::IRBuilder<>& b_;
  std::unordered_map<Key, llvm::Value*, Hash> available_;
  std::vector<Key> order_;  // in which they became available
};

}  // namespace gradus::codegen
