// What stages leave out, and that they do not where it would be seen. That bits stay as they are is
// shown by every test that compares kernels (kernel_interpret_test.cpp, executors).

#include "codegen/unread.h"

#include <gtest/gtest.h>

#include <bit>
#include <string>

#include "codegen/text_kernel.h"
#include "tests/codegen/kernel_texts.h"

namespace gradus::codegen {
namespace {

std::string edited(std::string_view from, std::string_view to) {
  std::string text = kernel_text("causal_attention");
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}
std::vector<std::optional<Unread>> of(const std::string& text) {
  return unread_parts(parse_kernel(text));
}

TEST(Unread, WhatNoQuerySeesOfScoresAndWeights) {
  const auto parts = of(kernel_text("causal_attention"));
  ASSERT_EQ(parts.size(), 6u);
  for (const std::size_t stage : {0, 1, 2, 3}) {
    ASSERT_TRUE(parts[stage].has_value()) << stage;
    EXPECT_EQ(parts[stage]->half_plane, (HalfPlane{2, 1, 0})) << stage;
  }
  EXPECT_EQ(parts[1]->constants, std::vector<std::uint64_t>{std::bit_cast<std::uint32_t>(-3.0F)});
  EXPECT_EQ(parts[2]->constants, std::vector<std::uint64_t>{0});
  EXPECT_FALSE(parts[4] || parts[5]);
}

/// Sums of what the scores and the constant are outside of the border, 0.
TEST(Unread, ConstantsComeThroughScratch) {
  const auto parts = of(edited("select f32 %2, %3, %4", "mul f32 %3, %3\n    # "));
  ASSERT_TRUE(parts[1].has_value());
  EXPECT_EQ(parts[1]->constants, std::vector<std::uint64_t>{0});
}

TEST(Unread, WhatIsReadIsNotLeftOut) {
  // All weights are read.
  auto parts = of(edited("d, n where n <= q parts", "d, n parts"));
  for (const std::size_t stage : {2, 3}) EXPECT_FALSE(parts[stage]) << stage;
  EXPECT_FALSE(parts[0]);
  EXPECT_TRUE(parts[1]);
  // Another border.
  parts = of(edited("d, n where n <= q parts", "d, n where n <= q + 1 parts"));
  ASSERT_TRUE(parts[3]);
  EXPECT_EQ(parts[3]->half_plane, (HalfPlane{2, 1, 1}));
  EXPECT_FALSE(parts[2]);
  // What is outside adds to the sum: not a constant, or not 0.
  parts = of(edited("select f32 %2, %6, %7", "add f32 %6, %7\n    # "));
  EXPECT_FALSE(parts[2]);
  parts = of(edited("%7 = constant f32 0", "%7 = constant f32 1"));
  EXPECT_FALSE(parts[2]);
}

}  // namespace
}  // namespace gradus::codegen
