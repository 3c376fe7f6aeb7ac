#pragma once

// The free choices of how a contraction runs. They change its speed, never a bit: tasks and parts,
// which fix the bits, are given.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codegen/kernel.h"
#include "codegen/target.h"

namespace gradus::codegen {

struct ContractionChoice {
  RegisterTile tile;
  std::int64_t panel = 0;  // width of the panels that rhs is packed into; 0: none
  bool copied = false;     // each task copies the columns of a tile; else without panels: in place
  Chunk chunk;
  TileOrder order = TileOrder::columns_outer;
  friend bool operator==(const ContractionChoice&, const ContractionChoice&) = default;
};

/// Results of a whole matrix that count: those with column <= row + offset, or with `rows_low`
/// those with row <= column + offset.
struct ResultBorder {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  std::int64_t offset = 0;
  bool rows_low = false;
};

/// A task's part of a contraction, and how its operands lie in memory. Strides are in bytes.
struct ContractionBox {
  ElementType type = ElementType::f32;
  std::int64_t m = 1;                   // rows that follow each other
  std::int64_t n = 1;                   // columns
  std::int64_t lines = 1;               // of m rows each that may share a tile; 1: there are none
  std::int64_t outer_rows = 1;          // positions of the axes before m
  std::int64_t rows = 1;                // of the result, in all tasks
  std::int64_t results = 1;             // in all tasks
  std::int64_t epilogue_bytes = 0;      // of memory that the epilogue moves, in all tasks
  std::vector<std::int64_t> k = {256};  // outermost first
  std::int64_t tasks = 1;
  bool in_place = true;            // rhs may be read where it lies
  bool packable = true;            // rhs may be packed into panels
  std::int64_t repeats = 1;        // products that read the panels, once packed
  std::int64_t column_unit = 0;    // of packed tiles a multiple of the columns; 0: any number
  std::int64_t rhs_row_bytes = 0;  // of all columns for one k, in every task
  std::int64_t rhs_bytes = 0;      // of all columns for all k
  std::int64_t rhs_k_stride = 0;   // of the innermost k; 0: rows of n elements
  std::int64_t lhs_m_stride = 0;   // 0: rows of all k elements
  std::int64_t lhs_k_stride = 0;   // 0: neighbours
  std::int64_t lhs_bytes = 0;      // distinct ones; 0: as many as rows and k
  std::optional<ResultBorder> border = std::nullopt;
  bool tiled = false;     // all stages run for a few register tiles of rows at a time
  bool resting = false;   // sums go on from where they rest in memory
  bool streamed = false;  // each task reads the rhs of many such products

  /// Positions of k.
  [[nodiscard]] std::int64_t steps() const;
};

struct Candidate {
  ContractionChoice choice;
  double cycles = 0;  // predicted, of one task
};

/// What could be done, by rules that were measured and then by a model of the caches, the best
/// first; never empty. Register tiles fit the
/// registers: rows * vectors + vectors + 1.
[[nodiscard]] std::vector<Candidate> candidates(const ContractionBox& box, const Target& target);

/// Numbers of at most `most` candidates that are worth trying, the first being 0: the cheapest of
/// each kind, so that not all of them differ in their register tile only.
[[nodiscard]] std::vector<std::size_t> shortlist(std::span<const Candidate> all, std::size_t most);

/// Picks one of the candidates of a contraction, by number.
using Chooser = std::function<std::size_t(std::span<const Candidate>)>;

/// "14 x 2, panels of 32, k1 in 128, rows outer".
[[nodiscard]] std::string to_string(const ContractionChoice& choice);

}  // namespace gradus::codegen
