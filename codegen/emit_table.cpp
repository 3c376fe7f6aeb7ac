#include "codegen/emit_table.h"

#include <llvm/IR/IntrinsicsX86.h>

#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "ir/scalar_tables.h"

// A table is one register of AVX-512 or two of AVX2, which have an instruction that picks lanes of
// a register by those of another. Elsewhere, and for a single element, it is data in memory.

namespace gradus::codegen {
namespace {

using llvm::Value;

constexpr int kSize = static_cast<int>(ir::kTableSize);

class TableEmitter {
 public:
  TableEmitter(EmitContext& context, const ir::ScalarTable& table)
      : c_(context), b_(context.b), table_(table) {}

  Value* pick(Value* index, int lanes) {
    if (lanes == 1) return load(index);
    if (c_.target.avx512) {
      return in_registers(index, lanes, kSize, [&](Value* part) { return permute(part); });
    }
    if (!c_.target.is_aarch64() && c_.target.vector_bits >= 256) {
      return in_registers(index, lanes, kSize / 2, [&](Value* part) { return blend(part); });
    }
    Value* result = llvm::PoisonValue::get(EmitContext::lanes_type(b_.getFloatTy(), lanes));
    for (int i = 0; i < lanes; ++i) {
      const auto lane = static_cast<std::uint64_t>(i);
      result = b_.CreateInsertElement(result, load(b_.CreateExtractElement(index, lane)), lane);
    }
    return result;
  }

 private:
  [[nodiscard]] llvm::Constant* constant(int first, int count) const {
    const auto values =
        std::span(table_.values)
            .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    return llvm::ConstantDataVector::get(b_.getContext(),
                                         llvm::ArrayRef(values.data(), values.size()));
  }

  /// The one variable of the module with this table.
  Value* data() {
    llvm::Module& module = *c_.function->getParent();
    const std::string name = "gradus_table." + std::string(table_.name);
    if (llvm::GlobalVariable* known = module.getNamedGlobal(name)) return known;
    llvm::Constant* values =
        llvm::ConstantDataArray::get(b_.getContext(), llvm::ArrayRef(table_.values));
    auto* variable =
        llvm::cast<llvm::GlobalVariable>(module.getOrInsertGlobal(name, values->getType()));
    variable->setInitializer(values);
    variable->setConstant(true);
    variable->setLinkage(llvm::GlobalValue::PrivateLinkage);
    variable->setAlignment(llvm::Align(64));
    return variable;
  }
  Value* load(Value* index) {
    Value* number = b_.CreateZExt(b_.CreateAnd(index, kSize - 1), b_.getInt64Ty());
    Value* address = b_.CreateInBoundsGEP(b_.getFloatTy(), data(), number);
    return b_.CreateAlignedLoad(b_.getFloatTy(), address, llvm::Align(4));
  }

  /// 16 lanes; the instruction reads the low 4 bits of an index.
  Value* permute(Value* index) {
    return b_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_permvar_sf_512, {},
                              {constant(0, kSize), index});
  }
  /// 8 lanes; the instruction reads the low 3 bits of an index.
  Value* blend(Value* index) {
    const auto half = [&](int first) {
      return b_.CreateIntrinsic(llvm::Intrinsic::x86_avx2_permps, {},
                                {constant(first, kSize / 2), index});
    };
    Value* bit = b_.CreateAnd(index, llvm::ConstantInt::get(index->getType(), kSize / 2));
    Value* low = b_.CreateICmpEQ(bit, llvm::Constant::getNullValue(index->getType()));
    return b_.CreateSelect(low, half(0), half(kSize / 2));
  }

  /// `pick` on one register of `width` indices after the other.
  template <typename Pick>
  Value* in_registers(Value* index, int lanes, int width, Pick&& pick) {
    Value* result = nullptr;
    for (int first = 0; first < lanes; first += width) {
      Value* part = pick(slice(index, first, width, lanes));
      result = result == nullptr ? part : joined(result, part);
    }
    return slice(result, 0, lanes, result_lanes(result));
  }
  static int result_lanes(Value* value) {
    return static_cast<int>(llvm::cast<llvm::FixedVectorType>(value->getType())->getNumElements());
  }
  /// Lanes first, first + 1, ... of `value`; those beyond its `lanes` do not matter.
  Value* slice(Value* value, int first, int count, int lanes) {
    if (first == 0 && count == lanes) return value;
    llvm::SmallVector<int> mask;
    for (int i = first; i < first + count; ++i) mask.push_back(i < lanes ? i : -1);
    return b_.CreateShuffleVector(value, mask);
  }
  /// The lanes of `a`, then those of `b`, which has a divisor of as many.
  Value* joined(Value* a, Value* b) {
    const int of_a = result_lanes(a);
    const int of_b = result_lanes(b);
    llvm::SmallVector<int> mask(static_cast<std::size_t>(of_a + of_b));
    std::iota(mask.begin(), mask.end(), 0);
    return b_.CreateShuffleVector(a, slice(b, 0, of_a, of_b), mask);
  }

  EmitContext& c_;
  llvm::IRBuilder<>& b_;
  const ir::ScalarTable& table_;
};

}  // namespace

Value* emit_table(EmitContext& context, std::uint64_t table, Value* index, int lanes) {
  return TableEmitter(context, ir::scalar_tables()[table]).pick(index, lanes);
}

}  // namespace gradus::codegen
