// What could be done with a contraction: candidates that keep the laws, the first by rules.

#include "codegen/contraction_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/support/random.h"

namespace gradus::codegen {
namespace {

TEST(ContractionChoice, CandidatesFit) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    support::Random random(seed);
    ContractionBox box;
    box.m = random.between(1, 300);
    box.n = random.between(1, 600);
    box.outer_rows = random.between(1, 30);
    box.lines = random.chance(0.5) ? box.outer_rows : 1;
    box.rows = box.m * box.outer_rows;
    box.k = {random.between(1, 40), random.between(1, 900)};
    box.packable = box.n > 1;
    box.in_place = !box.packable || random.chance(0.7);
    box.column_unit = random.chance(0.3) ? 64 : 0;
    box.tasks = random.between(1, 64);
    box.rhs_row_bytes = (random.chance(0.5) ? 256 : 250) * 4;
    box.rhs_bytes = box.rhs_row_bytes * box.steps();
    const InstructionSet set = kInstructionSets[random.between(1, 4)];
    const Target target = make_target(set);
    const std::vector<Candidate> all = candidates(box, target);
    ASSERT_FALSE(all.empty());
    const bool may_choose = box.in_place && all.back().choice.panel != all.front().choice.panel;
    if (may_choose && box.packable) {
      const bool large =
          box.rhs_row_bytes == 1024 && box.rhs_bytes >= 1024 * 1024 && box.rows >= 32;
      EXPECT_EQ(all.front().choice.panel > 0, large);
    }
    EXPECT_EQ(all.front().choice.order, TileOrder::columns_outer);
    for (const Candidate& candidate : all) {
      const ContractionChoice& choice = candidate.choice;
      const RegisterTile& tile = choice.tile;
      EXPECT_LE(tile.lines * tile.rows * tile.vectors + tile.vectors + 1,
                target.vector_registers());
      EXPECT_LE(tile.rows, box.m);
      EXPECT_LE(tile.lines, box.lines);
      EXPECT_TRUE(choice.panel > 0 || choice.copied ? box.packable : box.in_place);
      EXPECT_FALSE(choice.panel > 0 && choice.copied);
      if (choice.copied && box.steps() > 1024) {
        EXPECT_GT(choice.chunk.size, 0);
      }
      if (choice.panel > 0 && box.column_unit > 0) {
        EXPECT_EQ(box.column_unit % choice.panel, 0);
      }
      EXPECT_LT(choice.chunk.size, box.k[static_cast<std::size_t>(choice.chunk.axis)]);
    }
  }
}

TEST(ContractionChoice, PanelsNeedRowsThatReadThem) {
  const Target target = make_target(InstructionSet::x86_64_v4);
  const auto first = [&](std::int64_t rows) {
    const ContractionBox box{.m = rows,
                             .n = 1024,
                             .rows = rows,
                             .k = {1024},
                             .rhs_row_bytes = 4096,
                             .rhs_bytes = 4096 * 1024};
    return candidates(box, target).front().choice;
  };
  EXPECT_EQ(first(1).panel, 0);
  EXPECT_EQ(first(1).chunk.size, 0) << "one row reads rhs once";
  EXPECT_EQ(first(64).panel, 0);
  EXPECT_GT(first(64).chunk.size, 0) << "rows of rhs stay in a first cache";
  EXPECT_GT(first(1024).panel, 0);
  EXPECT_EQ(first(1024).order, TileOrder::rows_outer) << "whole rows of the result";
  const ContractionBox windows{.m = 7,
                               .n = 512,
                               .outer_rows = 7,
                               .rows = 8 * 49,
                               .k = {3, 3, 512},
                               .rhs_row_bytes = 2048,
                               .rhs_bytes = 2048 * 9 * 512};
  EXPECT_GT(candidates(windows, target).front().choice.panel, 0) << "they do not read whole rows";
  const ContractionBox transposed{.m = 8,
                                  .n = 512,
                                  .rows = 8,
                                  .k = {784},
                                  .in_place = false,
                                  .rhs_row_bytes = 2048,
                                  .rhs_bytes = 2048 * 784};
  EXPECT_TRUE(candidates(transposed, target).front().choice.copied);
}

TEST(ContractionChoice, WindowsThatShareSetsAreReadInChunks) {
  const Target target = make_target(InstructionSet::x86_64_v4);
  const auto first = [&](std::int64_t features_in, std::int64_t features_out, std::int64_t taps) {
    const ContractionBox box{.m = features_in,
                             .n = features_out,
                             .outer_rows = taps,
                             .rows = taps * features_in,
                             .k = {2, 28, 28},
                             .rhs_row_bytes = 4 * features_out,
                             .rhs_bytes = 4 * features_out * 16 * 28 * 28,
                             .rhs_k_stride = 4 * features_out,
                             .lhs_m_stride = 4,
                             .lhs_k_stride = 4 * features_in};
    return candidates(box, target).front().choice;
  };
  const ContractionChoice shared = first(128, 256, 3);
  EXPECT_EQ(shared.chunk, (Chunk{1, 4})) << "112 places";
  EXPECT_EQ(shared.tile.vectors, 4);
  EXPECT_EQ(shared.panel, 0) << "where they lie";
  EXPECT_EQ(first(128, 64, 3).chunk, shared.chunk) << "those of one side are enough";
  EXPECT_EQ(first(64, 64, 3).chunk.size, 0);
  EXPECT_EQ(first(128, 256, 9).chunk.size, 0) << "sums that a second cache does not hold";
}

TEST(ContractionChoice, TwoUnitsForFmaWantFewLinesOfAWeightGradient) {
  Target target = make_target(InstructionSet::x86_64_v4);
  const auto first = [&] {
    const ContractionBox box{.m = 128,
                             .n = 352,
                             .rows = 256,
                             .k = {1024},
                             .rhs_row_bytes = 4096,
                             .rhs_bytes = 4096 * 1024,
                             .rhs_k_stride = 4096,
                             .lhs_m_stride = 4,
                             .lhs_k_stride = 1024};
    return candidates(box, target).front().choice;
  };
  const ContractionChoice two = first();
  EXPECT_EQ(two.tile.vectors, 2);
  target.vectors_per_cycle = 1;
  const ContractionChoice one = first();
  EXPECT_EQ(one.tile.vectors, 4);
  EXPECT_GT(one.chunk.size, 0);
  EXPECT_EQ(one.chunk, two.chunk);
}

TEST(ContractionChoice, EpiloguesThatWaitForMemoryReadWholeRows) {
  const Target target = make_target(InstructionSet::x86_64_v4);
  const auto first = [&](std::int64_t steps, std::int64_t bytes) {
    const ContractionBox box{.m = 44,
                             .n = 512,
                             .rows = 784,
                             .results = 784 * 512,
                             .epilogue_bytes = 784 * 512 * bytes,
                             .k = {steps},
                             .rhs_row_bytes = 2048,
                             .rhs_bytes = 2048 * steps};
    return candidates(box, target).front().choice;
  };
  EXPECT_EQ(first(128, 24).order, TileOrder::rows_outer) << "Adam after a batch of 128";
  EXPECT_EQ(first(128, 24).tile.vectors, 4);
  EXPECT_EQ(first(128, 4).order, TileOrder::columns_outer) << "the product alone";
  EXPECT_EQ(first(1024, 24).tile, first(1024, 4).tile) << "sums hide the memory";
}

TEST(ContractionChoice, TheShortlistHasSeveralKinds) {
  const ContractionBox box{.m = 40, .n = 512, .k = {1024}, .tasks = 50};
  const std::vector<Candidate> all = candidates(box, make_target(InstructionSet::x86_64_v4));
  const std::vector<std::size_t> few = shortlist(all, 6);
  ASSERT_EQ(few.size(), 6u);
  EXPECT_EQ(few[0], 0u);
  EXPECT_TRUE(std::ranges::is_sorted(few));
  std::set<std::pair<bool, TileOrder>> kinds;
  for (const std::size_t i : few) kinds.insert({all[i].choice.panel > 0, all[i].choice.order});
  EXPECT_GE(kinds.size(), 2u);
}

/// The share of a square's results that tiles compute, in halves of their vectors, of those that a
/// border leaves.
double computed_share(const RegisterTile& tile, const ResultBorder& border) {
  const std::int64_t half = (tile.vectors + 1) / 2 * std::int64_t{16};
  std::int64_t computed = 0;
  for (std::int64_t row = 0; row < border.rows; ++row) {
    for (std::int64_t column = 0; column < border.columns; ++column) {
      const std::int64_t first_row = row / tile.rows * tile.rows;
      const std::int64_t last_row = std::min(first_row + tile.rows, border.rows) - 1;
      const std::int64_t first_column = column / half * half;
      const std::int64_t last_column = first_column + half - 1;
      computed += border.rows_low ? first_row <= last_column + border.offset
                                  : first_column <= last_row + border.offset;
    }
  }
  return static_cast<double>(computed) / static_cast<double>(border.rows * border.columns);
}

TEST(ContractionChoice, TilesOfATriangleComputeLittleBehindItsBorder) {
  ContractionBox box;
  box.m = box.n = box.rows = 128;
  box.k = {64};
  box.in_place = false;
  box.tasks = 64;
  box.rhs_row_bytes = 4 * 128;
  box.rhs_bytes = 64 * box.rhs_row_bytes;
  const Target target = make_target(InstructionSet::x86_64_v4);
  const RegisterTile whole = candidates(box, target).front().choice.tile;
  for (const bool rows_low : {false, true}) {
    box.border = {128, 128, 0, rows_low};
    const RegisterTile tile = candidates(box, target).front().choice.tile;
    EXPECT_LT(computed_share(tile, *box.border), computed_share(whole, *box.border) - 0.02)
        << tile.rows << " x " << tile.vectors << ", not " << whole.rows << " x " << whole.vectors;
  }
}

}  // namespace
}  // namespace gradus::codegen
