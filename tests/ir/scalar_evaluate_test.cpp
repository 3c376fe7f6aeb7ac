#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/float_environment.h"
#include "base/philox.h"
#include "ir/evaluate_scalar.h"
#include "ir/math.h"

namespace gradus::ir {
namespace {

using enum ElementType;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLeast = std::numeric_limits<float>::min();

/// The result of one instruction on the given values.
template <typename Result, typename... Arguments>
Result apply(ScalarOp op, ElementType type, std::initializer_list<ElementType> operand_types,
             Arguments... arguments) {
  ScalarBuilder b(operand_types);
  Scalar result;
  if constexpr (sizeof...(arguments) == 1) {
    result = b.emit(op, type, {b.operand(0)});
  } else if constexpr (sizeof...(arguments) == 2) {
    result = b.emit(op, type, {b.operand(0), b.operand(1)});
  } else {
    result = b.emit(op, type, {b.operand(0), b.operand(1), b.operand(2)});
  }
  const std::uint64_t operands[] = {to_word(arguments)...};
  std::uint64_t word = 0;
  const FloatEnvironment environment;
  evaluate(b.finish({result}), operands, {}, {&word, 1}, nullptr);
  return from_word<Result>(word);
}
template <typename T>
T binary(ScalarOp op, ElementType type, T a, T b) {
  return apply<T>(op, type, {type, type}, a, b);
}

TEST(ScalarEvaluate, MinAndMaxOrderSignedZerosAndKeepNan) {
  const auto low = [](float a, float b) { return binary(ScalarOp::min, f32, a, b); };
  const auto high = [](float a, float b) { return binary(ScalarOp::max, f32, a, b); };
  EXPECT_TRUE(std::signbit(low(0.0f, -0.0f)));
  EXPECT_TRUE(std::signbit(low(-0.0f, 0.0f)));
  EXPECT_FALSE(std::signbit(high(0.0f, -0.0f)));
  EXPECT_FALSE(std::signbit(high(-0.0f, 0.0f)));
  EXPECT_TRUE(std::isnan(low(kNan, 1.0f)) && std::isnan(low(1.0f, kNan)));
  EXPECT_TRUE(std::isnan(high(kNan, 1.0f)) && std::isnan(high(1.0f, kNan)));
  EXPECT_EQ(low(-kInfinity, 3.0f), -kInfinity);
  EXPECT_EQ(high(2.0f, 3.0f), 3.0f);
  EXPECT_EQ(to_word(high(1e-40f, -1.0f)), 0u);
  EXPECT_TRUE(std::signbit(low(-1e-40f, 1.0f)) && low(-1e-40f, 1.0f) == 0.0f);
  EXPECT_TRUE(std::signbit(low(1e-40f, -0.0f)));
  EXPECT_EQ(binary<std::uint32_t>(ScalarOp::max, u32, 1u, 0x80000000u), 0x80000000u);
  EXPECT_EQ(binary<std::int32_t>(ScalarOp::max, i32, 1, INT32_MIN), 1);
}

TEST(ScalarEvaluate, SubnormalsAreZeroInArithmeticButMoveUnchanged) {
  EXPECT_EQ(to_word(binary(ScalarOp::add, f32, 1e-40f, -0.0f)), 0u);
  EXPECT_EQ(to_word(binary(ScalarOp::mul, f32, -kLeast, 0.5f)), 0x80000000u);
  EXPECT_EQ(binary(ScalarOp::div, f32, 1.0f, 1e-40f), kInfinity);
  EXPECT_EQ(to_word(apply<float>(ScalarOp::sqrt, f32, {f32}, -1e-40f)), 0x80000000u);
  EXPECT_EQ(to_word(apply<float>(ScalarOp::neg, f32, {f32}, 1e-40f)), to_word(-1e-40f));
  EXPECT_EQ(to_word(apply<float>(ScalarOp::abs, f32, {f32}, -1e-40f)), to_word(1e-40f));
  EXPECT_EQ(to_word(apply<float>(ScalarOp::select, f32, {boolean, f32, f32}, true, 1e-40f, 0.0f)),
            to_word(1e-40f));
  EXPECT_TRUE((apply<bool>(ScalarOp::equal, boolean, {f32, f32}, 1e-40f, -1e-40f)));
  EXPECT_FALSE(apply<bool>(ScalarOp::convert, boolean, {f32}, 1e-40f));
  EXPECT_EQ(apply<double>(ScalarOp::convert, f64, {f32}, 1e-40f), 0.0);
  EXPECT_EQ(to_word(apply<float>(ScalarOp::convert, f32, {f64}, -1e-40)), 0x80000000u);
}

TEST(ScalarEvaluate, IntegersWrapAndDivisionFaults) {
  EXPECT_EQ(binary<std::int32_t>(ScalarOp::add, i32, INT32_MAX, 1), INT32_MIN);
  EXPECT_EQ(binary<std::int64_t>(ScalarOp::mul, i64, INT64_MIN, -1), INT64_MIN);
  EXPECT_EQ(binary<std::uint8_t>(ScalarOp::sub, u8, 3, 5), 254);
  EXPECT_EQ(binary<std::int32_t>(ScalarOp::div, i32, INT32_MIN, -1), INT32_MIN);
  EXPECT_EQ(binary<std::int64_t>(ScalarOp::rem, i64, INT64_MIN, -1), 0);
  EXPECT_EQ(binary<std::int32_t>(ScalarOp::div, i32, -7, 2), -3);
  EXPECT_EQ(binary<std::int32_t>(ScalarOp::rem, i32, -7, 2), -1);
  EXPECT_EQ(apply<std::int32_t>(ScalarOp::abs, i32, {i32}, INT32_MIN), INT32_MIN);
  EXPECT_EQ(binary<std::uint32_t>(ScalarOp::mul_high, u32, 0xD2511F53u, 0xFFFFFFFFu), 0xD2511F52u);
  EXPECT_EQ(binary<std::int32_t>(ScalarOp::shift_right, i32, -8, 1), -4);
  EXPECT_EQ(binary<std::uint32_t>(ScalarOp::shift_right, u32, 0x80000000u, 31u), 1u);
  EXPECT_EQ(binary<std::int32_t>(ScalarOp::shift_left, i32, 3, 31), INT32_MIN);

  ScalarBuilder b({i32, i32});
  const ScalarProgram program =
      b.finish({b.emit(ScalarOp::rem, i32, {b.operand(0), b.operand(1)})});
  const std::uint64_t operands[] = {7, 7, 0, 2};  // 7 / 0 and 7 / 2
  std::uint64_t results[2];
  ScalarFault faults[2];
  evaluate_many(program, 2, operands, {}, results, faults);
  EXPECT_EQ(results[0], 0u);
  EXPECT_EQ(results[1], 1u);
  EXPECT_EQ(faults[0].kind, FaultKind::division_by_zero);
  EXPECT_EQ(faults[0].instruction, 2);
  EXPECT_EQ(faults[1].kind, FaultKind::none);
  std::uint64_t fault = 0;
  const std::uint64_t by_zero[] = {7, 0};
  evaluate(program, by_zero, {}, {results, 1}, &fault);
  EXPECT_EQ(fault, static_cast<std::uint64_t>(FaultKind::division_by_zero));
}

TEST(ScalarEvaluate, ConversionsSaturateAndWrap) {
  const auto to_i32 = [](float x) { return apply<std::int32_t>(ScalarOp::convert, i32, {f32}, x); };
  EXPECT_EQ(to_i32(3.99f), 3);
  EXPECT_EQ(to_i32(-3.99f), -3);
  EXPECT_EQ(to_i32(0x1p31f), INT32_MAX);
  EXPECT_EQ(to_i32(-kInfinity), INT32_MIN);
  EXPECT_EQ(to_i32(kNan), 0);
  EXPECT_EQ((apply<std::int64_t>(ScalarOp::convert, i64, {f64}, 1e300)), INT64_MAX);
  EXPECT_EQ((apply<std::uint8_t>(ScalarOp::convert, u8, {f32}, 256.5f)), 255);
  EXPECT_EQ((apply<std::uint8_t>(ScalarOp::convert, u8, {f32}, -0.9f)), 0);
  EXPECT_EQ((apply<std::uint32_t>(ScalarOp::convert, u32, {f64}, 4294967295.5)), UINT32_MAX);
  EXPECT_EQ((apply<std::uint8_t>(ScalarOp::convert, u8, {i32}, -1)), 255);
  EXPECT_EQ((apply<float>(ScalarOp::convert, f32, {i64}, (std::int64_t{1} << 53) + 1)), 0x1p53f);
  EXPECT_EQ((apply<std::int64_t>(ScalarOp::convert, i64, {i32}, -5)), -5);
  EXPECT_EQ((apply<float>(ScalarOp::convert, f32, {boolean}, true)), 1.0f);
  EXPECT_TRUE(apply<bool>(ScalarOp::convert, boolean, {f32}, kNan));
}

TEST(ScalarEvaluate, LdexpIsExactOrInfiniteOrZero) {
  const auto scale = [](float x, int n) {
    return apply<float>(ScalarOp::ldexp, f32, {f32, i32}, x, n);
  };
  EXPECT_EQ(scale(1.5f, 10), 1536.0f);
  EXPECT_EQ(scale(kLeast, 253), 0x1p127f);
  EXPECT_EQ(scale(1.0f, 128), kInfinity);
  EXPECT_EQ(scale(-1.0f, INT32_MAX), -kInfinity);
  EXPECT_EQ(to_word(scale(-1.0f, INT32_MIN)), 0x80000000u);
  EXPECT_EQ(scale(1.0f, -126), kLeast);
  EXPECT_EQ(scale(0x1.fffffep0f, -127), 0.0f);  // nothing below the normal range, however near
  EXPECT_EQ(scale(1e-40f, 100), 0.0f);
  EXPECT_EQ(scale(kInfinity, -500), kInfinity);
  EXPECT_TRUE(std::isnan(scale(kNan, 0)));
}

TEST(ScalarEvaluate, ComparisonsAreOrdered) {
  const auto holds = [](ScalarOp op, float a, float b) {
    return apply<bool>(op, boolean, {f32, f32}, a, b);
  };
  for (ScalarOp op : {ScalarOp::equal, ScalarOp::less, ScalarOp::less_equal}) {
    EXPECT_FALSE(holds(op, kNan, 1.0f));
    EXPECT_FALSE(holds(op, 1.0f, kNan));
  }
  EXPECT_TRUE(holds(ScalarOp::not_equal, kNan, kNan));
  EXPECT_TRUE(holds(ScalarOp::equal, 0.0f, -0.0f));
}

TEST(ScalarEvaluate, IndicesAndCallsReachTheProgram) {
  ScalarBuilder b({f32});
  const Scalar scaled = b.operand(0) * convert(b.index(1, i32), f32);
  const ScalarProgram program = b.finish({b.call("floor", {scaled}), b.index(0, i64)});
  const std::uint64_t operands[] = {to_word(2.5f), to_word(-2.5f)};
  const std::int64_t indices[] = {-7, 8, 3, 1};
  std::uint64_t results[4];
  const FloatEnvironment environment;
  evaluate_many(program, 2, operands, indices, results, {});
  EXPECT_EQ(from_word<float>(results[0]), 7.0f);
  EXPECT_EQ(from_word<float>(results[1]), -3.0f);
  EXPECT_EQ(from_word<std::int64_t>(results[2]), -7);
  EXPECT_EQ(from_word<std::int64_t>(results[3]), 8);
}

TEST(ScalarEvaluate, TablesArePickedFromModuloTheirSize) {
  ScalarBuilder b({i32});
  const ScalarProgram program = b.finish({table("exp_power", b.operand(0))});
  for (const std::int32_t index : {0, 1, 8, 15, 16, 41, -1, INT32_MIN, INT32_MAX}) {
    const std::uint64_t operand = to_word(index);
    std::uint64_t result = 0;
    evaluate(program, {&operand, 1}, {}, {&result, 1}, nullptr);
    const int sixteenths = ((index % 16) + 16) % 16;
    EXPECT_FLOAT_EQ(from_word<float>(result), std::exp2(static_cast<float>(sixteenths) / 16))
        << index;
  }
}

TEST(ScalarEvaluate, ManyElementsAreTheSameAsOneByOne) {
  constexpr std::int64_t count = 1000;
  const FloatEnvironment environment;
  for (const MathFunction& function : math_functions()) {
    std::vector<std::uint64_t> operands(static_cast<std::size_t>(count * function.arity));
    for (std::size_t i = 0; i < operands.size(); ++i) {
      const auto words = philox4x32({static_cast<std::uint32_t>(i), 0, 0, 0}, {11, 0});
      operands[i] = function.type == f32 ? words[0] : std::uint64_t{words[0]} << 32 | words[1];
    }
    std::vector<std::uint64_t> many(count);
    evaluate_many(function.program, count, operands, {}, many, {});
    for (std::size_t e = 0; e < count; ++e) {
      std::vector<std::uint64_t> own;
      for (int i = 0; i < function.arity; ++i) {
        own.push_back(operands[static_cast<std::size_t>(i) * count + e]);
      }
      std::uint64_t one = 0;
      evaluate(function.program, own, {}, {&one, 1}, nullptr);
      ASSERT_EQ(one, many[e]) << function.name;
    }
  }
}

}  // namespace
}  // namespace gradus::ir
