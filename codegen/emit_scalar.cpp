#include "codegen/emit_scalar.h"

#include <llvm/IR/IntrinsicsX86.h>

#include "base/check.h"
#include "codegen/emit_table.h"

// Three habits of LLVM's instruction selection would change bits and are avoided here: it drops
// multiplications by one although they flush, it turns compare-and-select into minimum and maximum
// instructions although those flush (where all that use the result flush it, emit_body lets it),
// and it knows nothing of subnormals when it folds constants (codegen/emit_program.h leaves none).

namespace gradus::codegen {
namespace {

using ir::ScalarInstruction;
using ir::ScalarOp;
using llvm::Value;

/// Writes operations of one type and number of lanes.
class Operation {
 public:
  Operation(EmitContext& context, ElementType type, int lanes)
      : c_(context),
        b_(context.b),
        type_(type),
        lanes_(lanes),
        bits_(static_cast<unsigned>(8 * byte_size(type))) {}

  Value* arithmetic(const ScalarInstruction& i, std::span<Value* const> x);
  Value* compare(ScalarOp op, Value* x, Value* y);
  Value* bitwise(ScalarOp op, Value* x, Value* y);
  Value* flush(Value* x);
  Value* extremum(bool greatest, Value* x, Value* y, bool flushes = true);
  Value* ldexp(Value* x, Value* exponent);
  Value* mul_high(Value* x, Value* y);
  Value* from(ElementType source, Value* x);
  Value* truncate(ElementType source, Value* x);
  Value* bitcast(ElementType source, Value* x);

 private:
  [[nodiscard]] llvm::Type* lanes(llvm::Type* element) const {
    return EmitContext::lanes_type(element, lanes_);
  }
  [[nodiscard]] llvm::Type* register_type() const { return lanes(c_.register_type(type_)); }
  [[nodiscard]] llvm::Type* integer_type() const { return lanes(b_.getIntNTy(bits_)); }
  [[nodiscard]] llvm::Constant* integer(std::uint64_t value) const {
    return llvm::ConstantInt::get(integer_type(), value);
  }
  [[nodiscard]] bool is_bits(Value* x, std::uint64_t bits) const {
    return x == emit_constant(c_, type_, bits, lanes_);
  }
  Value* float_arithmetic(ScalarOp op, std::span<Value* const> x);
  Value* integer_arithmetic(ScalarOp op, std::span<Value* const> x);
  Value* unless(Value* condition, Value* exception, Value* x);
  Value* divide(bool remainder, Value* x, Value* y);
  Value* power_of_two(Value* exponent);
  Value* scalef(Value* x, Value* exponent);

  EmitContext& c_;
  llvm::IRBuilder<>& b_;
  ElementType type_;
  int lanes_;
  unsigned bits_;
};

constexpr int mantissa_bits(ElementType type) { return type == ElementType::f32 ? 23 : 52; }
constexpr std::uint64_t sign_bit(ElementType type) {
  return std::uint64_t{1} << (8 * byte_size(type) - 1);
}
constexpr std::uint64_t exponent_mask(ElementType type) {
  return type == ElementType::f32 ? 0x7f800000 : 0x7ff0000000000000;
}
constexpr std::uint64_t one(ElementType type) {
  return type == ElementType::f32 ? 0x3f800000 : 0x3ff0000000000000;
}

Value* Operation::arithmetic(const ScalarInstruction& i, std::span<Value* const> x) {
  switch (i.op) {
    case ScalarOp::min:
    case ScalarOp::max:
      return extremum(i.op == ScalarOp::max, x[0], x[1]);
    default:
      return is_float(type_) ? float_arithmetic(i.op, x) : integer_arithmetic(i.op, x);
  }
}

Value* Operation::float_arithmetic(ScalarOp op, std::span<Value* const> x) {
  const std::uint64_t plus_one = one(type_);
  const std::uint64_t minus_one = plus_one | sign_bit(type_);
  switch (op) {
    case ScalarOp::add:
      if (is_bits(x[1], sign_bit(type_))) return flush(x[0]);
      if (is_bits(x[0], sign_bit(type_))) return flush(x[1]);
      return b_.CreateFAdd(x[0], x[1]);
    case ScalarOp::sub:
      if (is_bits(x[1], 0)) return flush(x[0]);
      if (is_bits(x[0], sign_bit(type_))) return b_.CreateFNeg(flush(x[1]));
      return b_.CreateFSub(x[0], x[1]);
    case ScalarOp::mul:
      for (std::size_t side : {0, 1}) {
        if (is_bits(x[side], plus_one)) return flush(x[1 - side]);
        if (is_bits(x[side], minus_one)) return b_.CreateFNeg(flush(x[1 - side]));
      }
      return b_.CreateFMul(x[0], x[1]);
    case ScalarOp::div:
      if (is_bits(x[1], plus_one)) return flush(x[0]);
      if (is_bits(x[1], minus_one)) return b_.CreateFNeg(flush(x[0]));
      return b_.CreateFDiv(x[0], x[1]);
    case ScalarOp::rem:
      return flush(b_.CreateFRem(flush(x[0]), flush(x[1])));
    case ScalarOp::fma:
      for (std::size_t side : {0, 1}) {  // the product by one is not dropped with its flush
        if (is_bits(x[side], plus_one)) return b_.CreateFAdd(flush(x[1 - side]), flush(x[2]));
      }
      return b_.CreateIntrinsic(register_type(), llvm::Intrinsic::fma, {x[0], x[1], x[2]});
    case ScalarOp::neg:
      return b_.CreateFNeg(x[0]);
    case ScalarOp::abs:
      return b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x[0]);
    case ScalarOp::sqrt:
      return b_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x[0]);
    default:
      break;
  }
  throw InternalError("no operation on floats: " + std::string(info(op).name));
}

Value* Operation::integer_arithmetic(ScalarOp op, std::span<Value* const> x) {
  switch (op) {
    case ScalarOp::add:
      return b_.CreateAdd(x[0], x[1]);
    case ScalarOp::sub:
      return b_.CreateSub(x[0], x[1]);
    case ScalarOp::mul:
      return b_.CreateMul(x[0], x[1]);
    case ScalarOp::div:
    case ScalarOp::rem:
      return divide(op == ScalarOp::rem, x[0], x[1]);
    case ScalarOp::fma:
      return b_.CreateAdd(b_.CreateMul(x[0], x[1]), x[2]);
    case ScalarOp::neg:
      return b_.CreateNeg(x[0]);
    case ScalarOp::abs:
      if (!is_signed_integer(type_)) return x[0];
      return b_.CreateBinaryIntrinsic(llvm::Intrinsic::abs, x[0], b_.getFalse());
    default:
      break;
  }
  throw InternalError("no operation on integers: " + std::string(info(op).name));
}

Value* Operation::divide(bool remainder, Value* x, Value* y) {
  Value* is_zero = b_.CreateICmpEQ(y, integer(0));
  if (!is_signed_integer(type_)) {
    Value* safe = unless(is_zero, integer(1), y);
    Value* result = remainder ? b_.CreateURem(x, safe) : b_.CreateUDiv(x, safe);
    return unless(is_zero, integer(0), result);
  }
  // The least integer divided by -1 wraps to itself.
  Value* is_minus_one = b_.CreateICmpEQ(y, llvm::Constant::getAllOnesValue(y->getType()));
  Value* safe = unless(b_.CreateOr(is_zero, is_minus_one), integer(1), y);
  Value* result = remainder ? b_.CreateSRem(x, safe) : b_.CreateSDiv(x, safe);
  Value* negative = remainder ? static_cast<Value*>(integer(0)) : b_.CreateNeg(x);
  return unless(is_zero, integer(0), unless(is_minus_one, negative, result));
}

/// `x` unless the condition holds; most divisors are constants, for which it does not.
Value* Operation::unless(Value* condition, Value* exception, Value* x) {
  const auto* known = llvm::dyn_cast<llvm::Constant>(condition);
  return known != nullptr && known->isNullValue() ? x : b_.CreateSelect(condition, exception, x);
}

Value* Operation::flush(Value* x) {
  Value* bits = b_.CreateBitCast(x, integer_type());
  Value* is_small = b_.CreateICmpEQ(b_.CreateAnd(bits, integer(exponent_mask(type_))), integer(0));
  Value* zero = b_.CreateAnd(bits, integer(sign_bit(type_)));
  return b_.CreateBitCast(b_.CreateSelect(is_small, zero, bits), x->getType());
}

Value* Operation::extremum(bool greatest, Value* x, Value* y, bool flushes) {
  if (is_float(type_)) {
    if (flushes) {
      x = flush(x);
      y = flush(y);
    }
    return b_.CreateBinaryIntrinsic(greatest ? llvm::Intrinsic::maximum : llvm::Intrinsic::minimum,
                                    x, y);
  }
  const bool is_signed = is_signed_integer(type_);
  const auto id = greatest ? (is_signed ? llvm::Intrinsic::smax : llvm::Intrinsic::umax)
                           : (is_signed ? llvm::Intrinsic::smin : llvm::Intrinsic::umin);
  return b_.CreateBinaryIntrinsic(id, x, y);
}

Value* Operation::compare(ScalarOp op, Value* x, Value* y) {
  const bool is_signed = is_signed_integer(type_);
  switch (op) {
    case ScalarOp::equal:
      return is_float(type_) ? b_.CreateFCmpOEQ(x, y) : b_.CreateICmpEQ(x, y);
    case ScalarOp::not_equal:
      return is_float(type_) ? b_.CreateFCmpUNE(x, y) : b_.CreateICmpNE(x, y);
    case ScalarOp::less:
      if (is_float(type_)) return b_.CreateFCmpOLT(x, y);
      return is_signed ? b_.CreateICmpSLT(x, y) : b_.CreateICmpULT(x, y);
    default:
      if (is_float(type_)) return b_.CreateFCmpOLE(x, y);
      return is_signed ? b_.CreateICmpSLE(x, y) : b_.CreateICmpULE(x, y);
  }
}

Value* Operation::bitwise(ScalarOp op, Value* x, Value* y) {
  switch (op) {
    case ScalarOp::bit_and:
      return b_.CreateAnd(x, y);
    case ScalarOp::bit_or:
      return b_.CreateOr(x, y);
    case ScalarOp::bit_xor:
      return b_.CreateXor(x, y);
    case ScalarOp::shift_left:
      return b_.CreateShl(x, y);
    default:
      return is_signed_integer(type_) ? b_.CreateAShr(x, y) : b_.CreateLShr(x, y);
  }
}

// Instruction selection finds the processor's product of 32-bit elements to 64 bits in this.
Value* Operation::mul_high(Value* x, Value* y) {
  llvm::Type* wide = lanes(b_.getInt64Ty());
  Value* product = b_.CreateMul(b_.CreateZExt(x, wide), b_.CreateZExt(y, wide));
  return b_.CreateTrunc(b_.CreateLShr(product, 32), x->getType());
}

/// 2 to an integer power in the range of normal numbers.
Value* Operation::power_of_two(Value* exponent) {
  const std::uint64_t bias = type_ == ElementType::f32 ? 127 : 1023;
  Value* biased = b_.CreateAdd(exponent, integer(bias));
  Value* bits = b_.CreateShl(biased, integer(static_cast<std::uint64_t>(mantissa_bits(type_))));
  return b_.CreateBitCast(bits, register_type());
}

// A product by a power of two is exact, infinite, or zero. Three factors reach from any normal
// number beyond both ends, and on the way between two normal numbers all products are normal.
Value* Operation::ldexp(Value* x, Value* exponent) {
  const bool f32 = type_ == ElementType::f32;
  const int vector = f32 ? 16 : 8;
  if (c_.target.avx512 && lanes_ >= vector) return scalef(x, exponent);
  const std::int64_t step = f32 ? 126 : 1022;
  Value* n = b_.CreateSExtOrBitCast(exponent, integer_type());
  const auto clamp = [&](Value* value, std::int64_t bound) {
    Value* low = integer(static_cast<std::uint64_t>(-bound));
    Value* high = integer(static_cast<std::uint64_t>(bound));
    value = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, value, low);
    return b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, value, high);
  };
  n = clamp(n, 3 * step);
  Value* result = x;
  for (int factor = 0; factor < 3; ++factor) {
    Value* part = factor == 2 ? n : clamp(n, step);
    result = b_.CreateFMul(result, power_of_two(part));
    n = b_.CreateSub(n, part);
  }
  return result;
}

/// The AVX-512 instruction that scales by a power of two, on one register after the other.
Value* Operation::scalef(Value* x, Value* exponent) {
  const bool f32 = type_ == ElementType::f32;
  const int vector = f32 ? 16 : 8;
  Value* n = b_.CreateSIToFP(exponent, register_type());
  const auto id = f32 ? llvm::Intrinsic::x86_avx512_mask_scalef_ps_512
                      : llvm::Intrinsic::x86_avx512_mask_scalef_pd_512;
  const auto scale = [&](Value* a, Value* e) -> Value* {
    Value* all = llvm::Constant::getAllOnesValue(b_.getIntNTy(static_cast<unsigned>(vector)));
    constexpr std::uint32_t kCurrentRounding = 4;
    return b_.CreateIntrinsic(id, {}, {a, e, a, all, b_.getInt32(kCurrentRounding)});
  };
  if (lanes_ == vector) return scale(x, n);
  llvm::SmallVector<int> low, high, both;
  for (int i = 0; i < lanes_; ++i) {
    (i < vector ? low : high).push_back(i);
    both.push_back(i);
  }
  GRADUS_CHECK(lanes_ == 2 * vector, "more lanes than two registers");
  Value* first = scale(b_.CreateShuffleVector(x, low), b_.CreateShuffleVector(n, low));
  Value* second = scale(b_.CreateShuffleVector(x, high), b_.CreateShuffleVector(n, high));
  return b_.CreateShuffleVector(first, second, both);
}

// LLVM's saturating conversion goes through the lanes of a vector one by one.
Value* Operation::truncate(ElementType source, Value* x) {
  const auto floats = [&](std::uint64_t bits) { return emit_constant(c_, source, bits, lanes_); };
  const int exponent = static_cast<int>(bits_) - 1;  // of the first power of two beyond
  const std::uint64_t bias = one(source) >> mantissa_bits(source);
  Value* bound = floats((bias + static_cast<std::uint64_t>(exponent)) << mantissa_bits(source));
  Value* inside = b_.CreateFCmpOLT(b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x), bound);
  Value* result = b_.CreateFPToSI(emit_select(c_, inside, x, floats(0)), register_type());
  const std::uint64_t least = std::uint64_t{1} << exponent;
  Value* above = b_.CreateSelect(b_.CreateFCmpOGE(x, bound), integer(least - 1), integer(0));
  Value* beyond = b_.CreateSelect(b_.CreateFCmpOLT(x, floats(0)), integer(least), above);
  return b_.CreateSelect(inside, result, beyond);
}

Value* Operation::from(ElementType source, Value* x) {
  if (source == type_) return x;
  const bool from_boolean = source == ElementType::boolean;
  if (type_ == ElementType::boolean) {
    llvm::Constant* zero = llvm::Constant::getNullValue(x->getType());
    return is_float(source) ? b_.CreateFCmpUNE(x, zero) : b_.CreateICmpNE(x, zero);
  }
  if (is_float(source)) {
    if (is_float(type_)) return b_.CreateFPCast(x, register_type());
    if (is_signed_integer(type_)) return truncate(source, x);
    return b_.CreateIntrinsic(llvm::Intrinsic::fptoui_sat, {register_type(), x->getType()}, {x});
  }
  const bool sign = is_signed_integer(source) && !from_boolean;
  if (is_float(type_)) {
    return sign ? b_.CreateSIToFP(x, register_type()) : b_.CreateUIToFP(x, register_type());
  }
  return b_.CreateIntCast(x, register_type(), sign);
}

Value* Operation::bitcast(ElementType source, Value* x) {
  if (source == type_) return x;
  if (source == ElementType::boolean) return b_.CreateZExt(x, register_type());
  if (type_ == ElementType::boolean) {
    return b_.CreateICmpNE(x, llvm::Constant::getNullValue(x->getType()));
  }
  return b_.CreateBitCast(x, register_type());
}

}  // namespace

Value* emit_operation(EmitContext& context, const ScalarInstruction& instruction,
                      ElementType argument, std::span<Value* const> arguments, int lanes) {
  const ElementType type = instruction.type;
  Operation result(context, type, lanes);
  switch (instruction.op) {
    case ScalarOp::constant:
      return emit_constant(context, type, instruction.immediate, lanes);
    case ScalarOp::equal:
    case ScalarOp::not_equal:
    case ScalarOp::less:
    case ScalarOp::less_equal:
      return Operation(context, argument, lanes)
          .compare(instruction.op, arguments[0], arguments[1]);
    case ScalarOp::bit_and:
    case ScalarOp::bit_or:
    case ScalarOp::bit_xor:
    case ScalarOp::shift_left:
    case ScalarOp::shift_right:
      return result.bitwise(instruction.op, arguments[0], arguments[1]);
    case ScalarOp::mul_high:
      return result.mul_high(arguments[0], arguments[1]);
    case ScalarOp::select:
      return emit_select(context, arguments[0], arguments[1], arguments[2]);
    case ScalarOp::convert:
      return result.from(argument, arguments[0]);
    case ScalarOp::bitcast:
      return result.bitcast(argument, arguments[0]);
    case ScalarOp::ldexp:
      return result.ldexp(arguments[0], arguments[1]);
    case ScalarOp::table:
      return emit_table(context, instruction.immediate, arguments[0], lanes);
    case ScalarOp::add:
    case ScalarOp::sub:
    case ScalarOp::mul:
    case ScalarOp::div:
    case ScalarOp::rem:
    case ScalarOp::fma:
    case ScalarOp::neg:
    case ScalarOp::abs:
    case ScalarOp::min:
    case ScalarOp::max:
    case ScalarOp::sqrt:
      return result.arithmetic(instruction, arguments);
    case ScalarOp::operand:
    case ScalarOp::index:
    case ScalarOp::call:
    case ScalarOp::fault:
      break;
  }
  throw InternalError("an instruction that depends on its place");
}

llvm::Constant* emit_constant(EmitContext& context, ElementType type, std::uint64_t bits,
                              int lanes) {
  llvm::LLVMContext& llvm_context = context.b.getContext();
  llvm::Constant* value = nullptr;
  if (type == ElementType::f32) {
    value = llvm::ConstantFP::get(
        llvm_context, llvm::APFloat(llvm::APFloat::IEEEsingle(), llvm::APInt(32, bits)));
  } else if (type == ElementType::f64) {
    value = llvm::ConstantFP::get(
        llvm_context, llvm::APFloat(llvm::APFloat::IEEEdouble(), llvm::APInt(64, bits)));
  } else {
    value = llvm::ConstantInt::get(context.register_type(type), bits);
  }
  if (lanes == 1) return value;
  return llvm::ConstantVector::getSplat(llvm::ElementCount::getFixed(static_cast<unsigned>(lanes)),
                                        value);
}

Value* emit_extremum(EmitContext& context, bool greatest, ElementType type, Value* x, Value* y,
                     bool flush) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(x->getType());
  const int lanes = vector == nullptr ? 1 : static_cast<int>(vector->getNumElements());
  return Operation(context, type, lanes).extremum(greatest, x, y, flush);
}

Value* emit_flush(EmitContext& context, ElementType type, Value* x) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(x->getType());
  const int lanes = vector == nullptr ? 1 : static_cast<int>(vector->getNumElements());
  return Operation(context, type, lanes).flush(x);
}

Value* emit_select(EmitContext& context, Value* condition, Value* x, Value* y) {
  llvm::IRBuilder<>& b = context.b;
  llvm::Type* type = x->getType();
  if (!type->isFPOrFPVectorTy()) return b.CreateSelect(condition, x, y);
  llvm::Type* bits = b.getIntNTy(type->getScalarSizeInBits());
  if (auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type)) {
    bits = llvm::FixedVectorType::get(bits, vector->getNumElements());
  }
  Value* chosen = b.CreateSelect(condition, b.CreateBitCast(x, bits), b.CreateBitCast(y, bits));
  return b.CreateBitCast(chosen, type);
}

}  // namespace gradus::codegen
