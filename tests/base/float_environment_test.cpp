#include "base/float_environment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace gradus {
namespace {

constexpr float kTiny = std::numeric_limits<float>::min();

/// At run time, in the environment of the caller.
float product(float a, float b) {
  const volatile float x = a;
  const volatile float y = b;
  return x * y;
}

TEST(FloatEnvironment, FlushesOperandsAndResultsAndRestores) {
  EXPECT_FALSE(FloatEnvironment::active());
  EXPECT_NE(product(kTiny, 0.5f), 0.0f);
  {
    const FloatEnvironment outer;
    EXPECT_TRUE(FloatEnvironment::active());
    EXPECT_EQ(product(kTiny, 0.5f), 0.0f);
    EXPECT_TRUE(std::signbit(product(-kTiny, 0.5f)));
    EXPECT_EQ(product(std::numeric_limits<float>::denorm_min(), 0x1p100f), 0.0f);
    {
      const FloatEnvironment inner;
      EXPECT_TRUE(FloatEnvironment::active());
    }
    EXPECT_TRUE(FloatEnvironment::active());
  }
  EXPECT_FALSE(FloatEnvironment::active());
  EXPECT_NE(product(kTiny, 0.5f), 0.0f);
}

TEST(FloatEnvironment, FlushSubnormalKeepsTheSignAndEverythingElse) {
  EXPECT_TRUE(std::signbit(flush_subnormal(-1e-40f)));
  EXPECT_EQ(flush_subnormal(-1e-40f), 0.0f);
  EXPECT_EQ(flush_subnormal(kTiny), kTiny);
  EXPECT_EQ(flush_subnormal(5e-324), 0.0);
  EXPECT_TRUE(std::isnan(flush_subnormal(std::nan(""))));
}

// Tininess is judged after rounding to the full precision: the same inputs give the same bits
// whether fma is an instruction under FTZ or a function that knows nothing of it.
TEST(FloatEnvironment, FusedMultiplyAddDoesNotDependOnTheEnvironment) {
  struct Case {
    double a, b, c, expected;
  };
  constexpr double least = std::numeric_limits<double>::min();
  const Case cases[] = {
      {0x1.fffffffffffffp-1, least, 0.0, 0.0},  // representable below the normal range
      {0x1.fffffffffffffp-512, 0x1.0000000000001p-511, 0.0, least},  // rounds up to it
      {3.0, 4.0, 5.0, 17.0},
      {0x1p-600, 0x1p-600, least, least},
      {0x1p-600, -0x1p-600, least, least},
      {5e-324, 0x1p1023, 0.0, 0.0},
  };
  for (const Case& x : cases) {
    EXPECT_EQ(fused_multiply_add(x.a, x.b, x.c), x.expected) << x.a << " " << x.b;
    const FloatEnvironment environment;
    EXPECT_EQ(fused_multiply_add(x.a, x.b, x.c), x.expected) << x.a << " " << x.b;
  }
  EXPECT_EQ(fused_multiply_add(0x1.000002p0f, 0x1.000002p0f, -0x1.000004p0f), 0x1p-46f);
}

TEST(FloatEnvironment, RemainderFlushes) {
  EXPECT_EQ(float_remainder(-7.5f, 2.0f), -1.5f);
  EXPECT_TRUE(std::isnan(float_remainder(1.0f, 1e-40f)));
  EXPECT_EQ(float_remainder(0x1.8p-126f, 0x1p-126f), 0.0f);
}

}  // namespace
}  // namespace gradus
