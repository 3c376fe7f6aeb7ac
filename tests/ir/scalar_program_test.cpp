#include "ir/scalar_program.h"

#include <gtest/gtest.h>

#include "base/check.h"
#include "base/diagnostic.h"
#include "base/philox.h"
#include "ir/evaluate_scalar.h"
#include "ir/math.h"
#include "ir/scalar_tables.h"

namespace gradus::ir {
namespace {

using enum ElementType;

TEST(ScalarProgram, EqualInstructionsAreRecordedOnceAndDeadOnesDropped) {
  ScalarBuilder b({f32, f32});
  const Scalar x = b.operand(0);
  const Scalar y = b.operand(1);
  const Scalar first = x * y + 1.0;
  const Scalar unused = x / y;
  EXPECT_EQ((x * y + 1.0).id, first.id);
  EXPECT_NE((x * y + 2.0).id, first.id);
  static_cast<void>(unused);
  EXPECT_EQ(to_string(b.finish({first, x})),
            "operands f32, f32\n"
            "%0 = operand f32 0\n"
            "%1 = operand f32 1\n"
            "%2 = mul f32 %0, %1\n"
            "%3 = constant f32 1\n"
            "%4 = add f32 %2, %3\n"
            "return %4, %0\n");
}

TEST(ScalarProgram, FaultsOutliveUnusedResults) {
  ScalarBuilder b({i32, i32, boolean});
  const Scalar x = b.operand(0);
  b.emit(ScalarOp::div, i32, {x, b.operand(1)});
  b.emit(ScalarOp::div, i32, {x, b.constant(i32, 3)});
  b.emit(ScalarOp::fault, boolean, {b.operand(2)},
         static_cast<std::uint64_t>(FaultKind::index_out_of_range));
  const ScalarProgram program = b.finish({x});
  EXPECT_EQ(to_string(program),
            "operands i32, i32, bool\n"
            "%0 = operand i32 0\n"
            "%1 = operand i32 1\n"
            "%2 = div i32 %0, %1\n"
            "%3 = operand bool 2\n"
            "%4 = fault bool index_out_of_range %3\n"
            "return %0\n");
}

TEST(ScalarProgram, TypesAreChecked) {
  ScalarBuilder b({f32, f64, i32, boolean});
  const Scalar x = b.operand(0);
  const Scalar y = b.operand(1);
  const Scalar n = b.operand(2);
  const Scalar p = b.operand(3);
  EXPECT_THROW(x + y, InternalError);
  EXPECT_THROW(fma(n, n, n), InternalError);
  EXPECT_THROW(select(x, x, x), InternalError);
  EXPECT_THROW(select(p, x, y), InternalError);
  EXPECT_THROW(x & x, InternalError);
  EXPECT_THROW(p + p, InternalError);
  EXPECT_THROW(bitcast(x, i64), InternalError);
  EXPECT_THROW(ldexp(x, x), InternalError);
  EXPECT_THROW(table("exp_power", x), InternalError);
  EXPECT_THROW(table("no_such", n), InternalError);
  EXPECT_THROW(b.emit(ScalarOp::table, f64, {n}, 0), InternalError);
  EXPECT_THROW(b.emit(ScalarOp::table, f32, {n}, scalar_tables().size()), InternalError);
  EXPECT_THROW(b.constant(i32, 0.5), InternalError);
  EXPECT_THROW(b.constant(u8, 256), InternalError);
  EXPECT_THROW(b.constant_bits(f32, 1ull << 32), InternalError);
  EXPECT_THROW(b.operand(4), InternalError);
  EXPECT_THROW(b.call("floor", {n}), InternalError);
  EXPECT_THROW(b.emit(ScalarOp::fault, boolean, {p}, 0), InternalError);
  ScalarBuilder other({f32});
  EXPECT_THROW(x + other.operand(0), InternalError);
}

TEST(ScalarProgram, InliningReplacesOperandsAndIndices) {
  ScalarBuilder inner({f32});
  const Scalar square = inner.operand(0) * inner.operand(0);
  const ScalarProgram square_plus_index =
      inner.finish({square + convert(inner.index(0, i32), f32)});
  ScalarBuilder b({f32});
  const Scalar operands[] = {b.operand(0) + 1.0};
  const Scalar indices[] = {b.index(2, i64)};
  const auto results = b.inline_program(square_plus_index, operands, indices);
  EXPECT_EQ(to_string(b.finish(results)),
            "operands f32\n"
            "%0 = operand f32 0\n"
            "%1 = constant f32 1\n"
            "%2 = add f32 %0, %1\n"
            "%3 = index i64 2\n"
            "%4 = mul f32 %2, %2\n"
            "%5 = convert i32 %3\n"
            "%6 = convert f32 %5\n"
            "%7 = add f32 %4, %6\n"
            "return %7\n");
}

TEST(ScalarText, EveryConstantComesBackToTheBit) {
  const std::uint64_t seed = 20240611;
  for (ElementType type : kElementTypes) {
    ScalarBuilder b({});
    std::vector<Scalar> constants;
    for (std::uint32_t i = 0; i < 500; ++i) {
      const auto words = philox4x32({i, 0, 0, 0}, {static_cast<std::uint32_t>(seed), 7});
      std::uint64_t bits = (std::uint64_t{words[0]} << 32 | words[1]) >> (64 - 8 * byte_size(type));
      if (type == boolean) bits &= 1;
      constants.push_back(b.constant_bits(type, bits));
    }
    for (std::uint64_t bits : {0x80000000ull, 0x7f800000ull, 0x00000001ull, 0x7fc00000ull}) {
      if (type == f32) constants.push_back(b.constant_bits(f32, bits));
      if (type == f64) constants.push_back(b.constant_bits(f64, bits << 32));
    }
    const ScalarProgram program = b.finish(constants);
    EXPECT_EQ(parse_scalar_program(to_string(program)), program) << "seed " << seed;
  }
}

TEST(ScalarText, EveryMathFunctionComesBack) {
  for (const MathFunction& function : math_functions()) {
    EXPECT_EQ(parse_scalar_program(to_string(function.program)), function.program) << function.name;
    ScalarBuilder b(
        std::vector<ElementType>(static_cast<std::size_t>(function.arity), function.type));
    const Scalar result = function.arity == 1 ? b.call(function.name, {b.operand(0)})
                                              : b.call(function.name, {b.operand(0), b.operand(1)});
    const ScalarProgram caller = b.finish({result});
    EXPECT_EQ(parse_scalar_program(to_string(caller)), caller) << function.name;
  }
}

TEST(ScalarText, ErrorsNameTheLine) {
  struct Case {
    const char* text;
    std::uint32_t line;
  };
  const Case cases[] = {
      {"", 1},
      {"operands f32\n%0 = operand f32 0\n", 3},
      {"operands f33\nreturn\n", 1},
      {"operands f32\n%1 = operand f32 0\nreturn\n", 2},
      {"operands f32\n%0 = operand f32 1\nreturn\n", 2},
      {"operands f32\n%0 = operand f64 0\nreturn\n", 2},
      {"operands f32\n%0 = operand f32 0\n%1 = add f32 %0, %1\nreturn %1\n", 3},
      {"operands f32\n%0 = operand f32 0\n%1 = add f32 %0\nreturn %1\n", 3},
      {"operands f32\n%0 = operand f32 0\n%1 = add f64 %0, %0\nreturn %1\n", 3},
      {"operands f32\n%0 = operand f32 0\n%1 = sum f32 %0, %0\nreturn %1\n", 3},
      {"operands f32\n%0 = operand f32 0\n%1 = call f32 gamma %0\nreturn %1\n", 3},
      {"operands i32\n%0 = operand i32 0\n%1 = table f32 sines %0\nreturn %1\n", 3},
      {"operands\n%0 = constant u8 256\nreturn %0\n", 2},
      {"operands\n%0 = constant f32 0x100000000\nreturn %0\n", 2},
      {"operands\nreturn %0\n", 2},
      {"operands\nreturn\nreturn\n", 3},
  };
  for (const Case& wrong : cases) {
    try {
      static_cast<void>(parse_scalar_program(wrong.text));
      ADD_FAILURE() << "accepted:\n" << wrong.text;
    } catch (const UserError& error) {
      EXPECT_EQ(error.diagnostics()[0].code, "E2101");
      EXPECT_EQ(error.diagnostics()[0].where.line, wrong.line) << wrong.text;
    }
  }
}

}  // namespace
}  // namespace gradus::ir
