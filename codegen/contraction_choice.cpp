#include "codegen/contraction_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/check.h"
#include "codegen/caches.h"

// The model counts cycles of one task. A tile's steps of k cost what its instructions cost; every
// byte that a tile reads again, and that a first cache cannot have kept, costs by the cache that
// can. What has to be read once costs the same in every order and is left out, but for a right
// operand that comes from a second cache for every task: its neighbours are read at once, or not.

namespace gradus::codegen {
namespace {

constexpr double kSecondCacheBytes = 256;    // per cycle, of neighbours: they come in time
constexpr double kScatteredBytes = 64;       // of rows that share sets
constexpr double kRestingBytes = 32;         // of sums
constexpr double kFarBytes = 12;             // per cycle
constexpr std::int64_t kSetsBytes = 1024;    // rows a multiple of this apart share cache sets ...
constexpr std::int64_t kFewSetsBytes = 512;  // ... these an eighth of those of the first cache ...
constexpr std::int64_t kOneSet = 4096;       // ... and these a single one
constexpr std::int64_t kOneSetRows = 6;      // of which it holds so many beside the rest
constexpr double kPackedBytes = 4;           // per cycle
constexpr double kHiddenShare = 0.2;         // of the time for sums in which memory is moved unseen
constexpr double kPartOfRowBytes = 8;      // of rhs, read for the first time, more cycles than rows
constexpr std::int64_t kChunkSteps = 128;  // rows of rhs that a first cache keeps ...
constexpr std::int64_t kLongChunk = 4;     // ... and so many times as many
constexpr std::int64_t kMostCopiedSteps = 512;  // without chunks
constexpr std::int64_t kPackedWindows = 32;     // rows from which panels are worth writing, ...
constexpr std::int64_t kPackedRows = 512;       // of plain products, which have whole rows, ...
constexpr std::int64_t kPackedColumns = 192;    // ... and where rhs is transposed
constexpr std::int64_t kWideShare = 8;          // of the registers are vectors of a wide tile
constexpr std::int64_t kLeastChunkTiles = 4;    // that read a chunk
constexpr std::int64_t kMostSums = 512 * 1024;  // bytes that rest between chunks
constexpr std::int64_t kTiledRows = 4;          // register tiles of rows in a tile of the stages

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Modelled cycles per k step of a tile: two fma and (measured) three loads start in two cycles,
/// the chain of an accumulator takes four, and the row of rhs may come from the second cache.
double tile_cycles(std::int64_t rows, std::int64_t vectors) {
  const double operations = static_cast<double>(rows * vectors) / 2;
  const double loads = static_cast<double>(rows + vectors) * 0.65;
  return std::max({operations, loads, 4.0}) + static_cast<double>(vectors) / 2;
}

/// Modelled cycles per k step of all tiles of m rows (in units of `unit`) x n columns, rows in
/// nearly equal tiles.
double box_cycles(std::int64_t m, std::int64_t n, std::int64_t rows, std::int64_t unit,
                  std::int64_t vectors, std::int64_t width) {
  const std::int64_t tiles = ceil_div(m, rows);
  const std::int64_t tall = m % tiles;  // tiles of one unit more than the others
  const auto column = [&](std::int64_t tile_vectors) {
    return static_cast<double>(tall) * tile_cycles((m / tiles + 1) * unit, tile_vectors) +
           static_cast<double>(tiles - tall) * tile_cycles(m / tiles * unit, tile_vectors);
  };
  const std::int64_t all = ceil_div(n, width);
  const std::int64_t rest = all % vectors;
  double cycles = static_cast<double>(all / vectors) * column(vectors);
  if (rest != 0) cycles += column(rest);
  return cycles;
}

/// Every height and every width of tile is code of its own to compile and to fetch: the more it
/// weighs, the fewer steps of k it runs.
double code_cycles(std::int64_t m, std::int64_t n, std::int64_t rows, std::int64_t vectors,
                   std::int64_t width, std::int64_t k) {
  const std::int64_t all = ceil_div(n, width);
  const bool two_heights = m % ceil_div(m, rows) != 0;
  const bool two_widths = all > all % vectors && all % vectors != 0;
  const double variants = (two_heights ? 2.0 : 1.0) * (two_widths ? 2.0 : 1.0);
  const double length = static_cast<double>(std::max<std::int64_t>(k, 256)) / 256;
  return variants * static_cast<double>(rows * vectors) / 2 / length;
}

/// Cycles per byte that is read again, when `bytes` are read between.
double again(std::int64_t bytes, bool shares_sets) {
  if (bytes <= kFirstCache) return 0;
  if (bytes > kSecondCache) return 1 / kFarBytes;
  return 1 / (shares_sets ? kScatteredBytes : kSecondCacheBytes);
}

class Model {
 public:
  Model(const ContractionBox& box, const Target& target)
      : box_(box),
        width_(target.width(box.type)),
        registers_(target.vector_registers()),
        size_(byte_size(box.type)),
        steps_(box.steps()),
        quick_(target.avx512 && target.vectors_per_cycle == 2) {}

  std::vector<Candidate> all() {
    for (const Way way : {Way::in_place, Way::packed, Way::copied}) {
      if (!possible(way)) continue;
      for (const auto& [tile, cycles] : tiles(way == Way::packed)) {
        for (const Chunk& chunk : chunks(tile, way)) {
          for (const TileOrder order : {TileOrder::columns_outer, TileOrder::rows_outer}) {
            if (way == Way::copied && order == TileOrder::rows_outer) continue;
            const std::int64_t panel = way == Way::packed ? tile.vectors * width_ : 0;
            add({tile, panel, way == Way::copied, chunk, order}, cycles);
          }
        }
      }
    }
    GRADUS_CHECK(!result_.empty(), "no register tile");
    std::ranges::stable_sort(result_, {}, [&](const Candidate& candidate) {
      return std::pair(broken_rules(candidate.choice), candidate.cycles);
    });
    return std::move(result_);
  }

 private:
  /// How tiles read rhs.
  enum class Way : std::uint8_t { in_place, packed, copied };
  [[nodiscard]] static Way way_of(const ContractionChoice& choice) {
    if (choice.copied) return Way::copied;
    return choice.panel > 0 ? Way::packed : Way::in_place;
  }
  [[nodiscard]] bool possible(Way way) const {
    if (way == Way::in_place) return box_.in_place;
    return way == Way::packed ? worth_memory() : box_.packable && !box_.in_place;
  }

  struct Tile {
    RegisterTile tile;
    double cycles = 0;  // of all tiles of the task
  };

  /// How many rules a choice breaks that measurements of many shapes gave and the model does not
  /// know. The cheapest candidate that breaks none is the first.
  [[nodiscard]] int broken_rules(const ContractionChoice& choice) const {
    const Way way = best_way();
    const bool rows_share_sets = box_.rhs_row_bytes % kSetsBytes == 0;
    // A product that reads much of rhs in place, or has an epilogue that waits for memory, wants
    // many neighbours of a row at once, ...
    const bool plain = box_.k.size() == 1;
    const bool in_place =
        way == Way::in_place && !box_.streamed &&
        ((plain && 2 * box_.rhs_bytes >= kSecondCache && !quick_columns()) || waits());
    // ... and reads it in chunks where a second cache does not hold it. One that reads panels gains
    // as much from rows of the result that are written at once. Rows of lhs that are columns in
    // memory are read in chunks where they share sets - windows' then with many neighbours of a
    // row of rhs -, or where a panel of rhs is more than a second cache keeps beside them. Copies
    // stay in the first cache.
    const bool lhs_shares_sets = box_.lhs_k_stride % kSetsBytes == 0;
    const std::int64_t columns = choice.tile.vectors * width_ * size_;
    const bool far = rows_share_sets || lhs_shares_sets || windows_share_sets() ||
                     2 * steps_ * columns > kSecondCache;
    const std::int64_t reads = box_.outer_rows * row_tiles(choice.tile);
    const bool chunked = ((long_columns() && far) || (in_place && box_.rhs_bytes > kSecondCache)) &&
                         reads > 1 && reads * column_tiles(choice.tile) >= kLeastChunkTiles;
    const bool wide = in_place || (way == Way::packed && !box_.streamed && plain) ||
                      (chunked && windows_share_sets());
    Chunk chunk;
    if (chunked || (way == Way::copied && steps_ > kMostCopiedSteps)) chunk = chunk_of(kChunkSteps);
    const TileOrder order =
        wide && chunk.size == 0 ? TileOrder::rows_outer : TileOrder::columns_outer;
    const bool narrower = choice.tile.vectors != wide_vectors();
    const bool wider = way == Way::copied && choice.tile.vectors > wide_vectors();
    return (way != way_of(choice) && box_.packable && !box_.streamed) + (choice.chunk != chunk) +
           (choice.order != order) + ((wide && narrower) || wider);
  }

  /// Rows of lhs are columns in memory.
  [[nodiscard]] bool are_columns() const { return box_.lhs_m_stride == size_ && box_.m > 1; }

  /// ... and long ones, which want chunks.
  [[nodiscard]] bool long_columns() const {
    return are_columns() && steps_ > 2 * kChunkSteps &&
           (box_.k.size() > 1 || steps_ * box_.lhs_k_stride >= kSecondCache);
  }

  /// ... for which a processor that starts two fma per cycle wants few lines of rhs in a step.
  [[nodiscard]] bool quick_columns() const { return long_columns() && quick_; }

  /// Between chunks sums rest, few enough for a second cache.
  [[nodiscard]] bool may_rest() const {
    return !box_.resting && box_.outer_rows * box_.m * box_.n * size_ <= kMostSums;
  }

  /// Windows whose rows are columns, as those of a weight gradient, and share sets, on either side.
  [[nodiscard]] bool windows_share_sets() const {
    return are_columns() && box_.k.size() > 1 && may_rest() &&
           (box_.rhs_row_bytes % kSetsBytes == 0 || box_.lhs_k_stride % kFewSetsBytes == 0);
  }

  /// Panels are worth writing where enough rows of the result read them: rows of rhs that share
  /// sets and fill a second cache, or columns; and once for all iterations of a loop. A chunk of
  /// long columns reads few enough rows of rhs where they lie, and beside windows that share sets
  /// panels wait for lhs.
  [[nodiscard]] Way best_way() const {
    if (!box_.in_place) {
      const bool few = box_.k.size() == 1 && box_.rows * box_.repeats < kPackedColumns;
      return few ? Way::copied : Way::packed;
    }
    if (box_.repeats > 1 && worth_memory()) return Way::packed;
    const bool rows_share_sets = box_.rhs_row_bytes % kSetsBytes == 0;
    const bool plain = box_.k.size() == 1;
    const bool many = box_.rows * box_.repeats >= (plain ? kPackedRows : kPackedWindows);
    const bool pack = rows_share_sets && box_.rhs_bytes >= kSecondCache && many &&
                      !(long_columns() && may_rest()) && !windows_share_sets();
    return pack ? Way::packed : Way::in_place;
  }

  /// The epilogue moves so much memory that the sums do not hide it.
  [[nodiscard]] bool waits() const {
    if (box_.resting) return false;  // it runs once, after the last tile
    const double moving = static_cast<double>(box_.epilogue_bytes) / kFarBytes;
    const double adding =
        static_cast<double>(box_.results * steps_) / static_cast<double>(2 * width_);
    return box_.epilogue_bytes > kSecondCache && moving > kHiddenShare * adding;
  }

  [[nodiscard]] std::int64_t wide_vectors() const {
    return std::min(registers_ / kWideShare, ceil_div(box_.n, width_));
  }

  /// Whether panels may be made: not of what a second cache holds where it lies, with room for
  /// more, unless it changes from product to product, or many products read them.
  [[nodiscard]] bool worth_memory() const {
    return box_.packable &&
           (!box_.in_place || box_.streamed || box_.repeats > 1 || box_.rhs_bytes >= kSecondCache);
  }

  /// The best tile of each width. Two vectors first: among equals it needs the fewest loads per row
  /// of rhs and short panels.
  [[nodiscard]] std::vector<Tile> tiles(bool packed) const {
    const std::int64_t most_vectors = std::clamp<std::int64_t>(ceil_div(box_.n, width_), 1, 8);
    const std::int64_t m = std::max<std::int64_t>(box_.m, 1);
    std::vector<Tile> result;
    for (std::int32_t vectors : {2, 1, 3, 4, 6, 8}) {
      if (vectors > most_vectors) continue;
      if (packed && box_.column_unit % (vectors * width_) != 0) continue;
      const std::int64_t most_rows = (registers_ - 1 - vectors) / vectors;
      Tile best;
      const auto consider = [&](RegisterTile tile, double cycles) {
        if (best.cycles == 0 || cycles < best.cycles * 0.995) best = {tile, cycles};
      };
      for (std::int64_t rows = 1; rows <= std::min(most_rows, m); ++rows) {
        consider({static_cast<std::int32_t>(rows), vectors, 1},
                 static_cast<double>(box_.lines) * box_cycles(m, box_.n, rows, 1, vectors, width_) *
                         computed_share(rows, vectors) +
                     code_cycles(m, box_.n, rows, vectors, width_, steps_));
      }
      for (std::int64_t lines = 2; lines <= std::min(most_rows / m, box_.lines); ++lines) {
        consider({static_cast<std::int32_t>(m), vectors, static_cast<std::int32_t>(lines)},
                 box_cycles(box_.lines, box_.n, lines, m, vectors, width_) +
                     code_cycles(box_.lines, box_.n, lines * m, vectors, width_, steps_));
      }
      result.push_back(best);
    }
    return result;
  }

  /// The share of the results that tiles of so many rows and vectors compute although a border
  /// leaves out some: halves of tiles that are not wholly behind it.
  [[nodiscard]] double computed_share(std::int64_t rows, std::int64_t vectors) const {
    if (!box_.border) return 1;
    const ResultBorder& border = *box_.border;
    const std::int64_t half = ceil_div(vectors, 2) * width_;
    std::int64_t computed = 0;
    for (std::int64_t row = 0; row < border.rows; row += rows) {
      const std::int64_t height = std::min(rows, border.rows - row);
      const std::int64_t first = border.rows_low ? row - border.offset : 0;
      const std::int64_t end = border.rows_low ? border.columns : row + height + border.offset;
      const std::int64_t from = std::clamp<std::int64_t>(first, 0, border.columns) / half * half;
      const std::int64_t to =
          ceil_div(std::clamp<std::int64_t>(end, 0, border.columns), half) * half;
      computed += height * (std::min(to, border.columns) - from);
    }
    return static_cast<double>(computed) / static_cast<double>(border.rows * border.columns);
  }

  /// None, and one whose rows of rhs stay in the first cache where enough tiles read them.
  [[nodiscard]] std::vector<Chunk> chunks(const RegisterTile& tile, Way way) const {
    std::vector<Chunk> result;
    if (way != Way::copied || steps_ <= kMostCopiedSteps) result.push_back({});
    if (!may_rest()) return result;
    if (way != Way::copied && row_tiles(tile) * column_tiles(tile) < kLeastChunkTiles) {
      return result;
    }
    for (const std::int64_t steps : {kChunkSteps, kLongChunk * kChunkSteps}) {
      const Chunk chunk = chunk_of(steps);
      if (chunk.size > 0 && (result.empty() || chunk != result.back())) result.push_back(chunk);
    }
    return result;
  }

  /// The chunk of at most so many positions of k; a line of several stays whole.
  [[nodiscard]] Chunk chunk_of(std::int64_t positions) const {
    const std::vector<std::int64_t>& k = box_.k;
    std::int64_t inner = 1;
    for (std::size_t i = k.size(); i-- > 0;) {
      const bool line = i + 1 == k.size() && i > 0;
      if (inner * k[i] > positions && k[i] > 1 && !line) {
        return {static_cast<std::int32_t>(i), std::max<std::int64_t>(1, positions / inner)};
      }
      inner *= k[i];
    }
    return {};
  }
  [[nodiscard]] std::int64_t positions(const Chunk& chunk) const {
    if (chunk.size == 0) return steps_;
    std::int64_t result = chunk.size;
    for (auto i = static_cast<std::size_t>(chunk.axis) + 1; i < box_.k.size(); ++i) {
      result *= box_.k[i];
    }
    return result;
  }

  /// Tiles of rows among which a panel of columns is shared.
  [[nodiscard]] std::int64_t row_tiles(const RegisterTile& tile) const {
    const std::int64_t tall = ceil_div(std::max<std::int64_t>(box_.m, 1), tile.rows);
    const std::int64_t all =
        tall * ceil_div(std::max<std::int64_t>(box_.outer_rows, 1), tile.lines);
    return box_.tiled ? std::min(all, kTiledRows) : all;
  }
  [[nodiscard]] std::int64_t column_tiles(const RegisterTile& tile) const {
    return ceil_div(std::max<std::int64_t>(box_.n, 1), tile.vectors * width_);
  }

  void add(const ContractionChoice& choice, double cycles) {
    // Lines that cannot share a tile are work all the same.
    const auto steps = static_cast<double>(steps_ * box_.outer_rows / box_.lines);
    result_.push_back({choice, cycles * steps + rhs_cycles(choice) + lhs_cycles(choice) +
                                   chunk_cycles(choice) + packing_cycles(choice)});
  }

  [[nodiscard]] double rhs_cycles(const ContractionChoice& choice) const {
    const RegisterTile& tile = choice.tile;
    const std::int64_t tiles = ceil_div(std::max<std::int64_t>(box_.m, 1), tile.rows) *
                               ceil_div(std::max<std::int64_t>(box_.outer_rows, 1), tile.lines);
    const std::int64_t columns =
        choice.order == TileOrder::columns_outer ? tile.vectors * width_ * size_ : box_.n * size_;
    const std::int64_t stride = box_.rhs_k_stride > 0 ? box_.rhs_k_stride : box_.n * size_;
    const bool shares_sets = choice.panel == 0 && stride % kSetsBytes == 0;
    const std::int64_t row = shares_sets ? stride : columns;
    const auto bytes = static_cast<double>((tiles - 1) * steps_ * box_.n * size_);
    return bytes * again(positions(choice.chunk) * row, shares_sets) + first_cycles(choice);
  }

  /// Of reading a streamed rhs in parts of its rows.
  [[nodiscard]] double first_cycles(const ContractionChoice& choice) const {
    const bool whole = choice.panel > 0 || choice.tile.vectors * width_ >= box_.n;
    if (!box_.streamed || whole) return 0;
    return static_cast<double>(steps_ * box_.n * size_) / kPartOfRowBytes;
  }

  [[nodiscard]] double lhs_cycles(const ContractionChoice& choice) const {
    const RegisterTile& tile = choice.tile;
    const std::int64_t all_rows = box_.outer_rows * box_.m;
    const std::int64_t rows =
        choice.order == TileOrder::columns_outer ? all_rows : tile.rows * tile.lines;
    const std::int64_t columns = column_tiles(tile);
    const std::int64_t steps = positions(choice.chunk);
    const bool along_m = box_.lhs_m_stride == size_ && box_.m > 1;
    const bool shares_sets = along_m && box_.lhs_k_stride % kSetsBytes == 0;
    // Windows of a convolution overlap: they read the same bytes.
    const auto distinct = [&](std::int64_t read) {
      return box_.lhs_bytes > 0 ? std::min(read, box_.lhs_bytes) : read;
    };
    const auto bytes = static_cast<double>((columns - 1) * distinct(all_rows * steps_ * size_));
    double cycles =
        bytes * again(shares_sets ? steps * box_.lhs_k_stride : distinct(steps * rows * size_),
                      shares_sets);
    // Rows of one set push each other out of the first cache: each element is a line from the next.
    const std::int64_t stride = box_.lhs_m_stride > 0 ? box_.lhs_m_stride : steps_ * size_;
    if (!along_m && stride % kOneSet == 0 && tile.rows > kOneSetRows) {
      cycles += static_cast<double>(columns * all_rows * steps_) / 4;
    }
    return cycles;
  }

  /// Sums that rest in memory between chunks.
  [[nodiscard]] double chunk_cycles(const ContractionChoice& choice) const {
    if (choice.chunk.size == 0) return 0;
    const std::int64_t pieces = ceil_div(steps_, positions(choice.chunk));
    const auto bytes = static_cast<double>(box_.outer_rows * box_.m * box_.n * size_);
    return 2 * static_cast<double>(pieces + 1) * bytes / kRestingBytes;
  }

  /// The task's share of writing the panels.
  [[nodiscard]] double packing_cycles(const ContractionChoice& choice) const {
    if (choice.panel == 0) return 0;
    const std::int64_t stride = box_.rhs_k_stride > 0 ? box_.rhs_k_stride : box_.n * size_;
    return 2 * static_cast<double>(steps_ * std::max(stride, box_.n * size_)) / kPackedBytes /
           static_cast<double>(box_.tasks * box_.repeats);
  }

  const ContractionBox& box_;
  std::int64_t width_;
  std::int64_t registers_;
  std::int64_t size_;  // of an element
  std::int64_t steps_;
  bool quick_;  // starts two fma of 512 bits per cycle
  std::vector<Candidate> result_;
};

}  // namespace

std::int64_t ContractionBox::steps() const {
  std::int64_t product = 1;
  for (std::int64_t extent : k) product *= extent;
  return product;
}

std::vector<Candidate> candidates(const ContractionBox& box, const Target& target) {
  return Model(box, target).all();
}

std::vector<std::size_t> shortlist(std::span<const Candidate> all, std::size_t most) {
  constexpr int kOfAKind = 2;
  std::map<std::tuple<bool, bool, TileOrder>, int> kinds;
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < all.size() && result.size() < most; ++i) {
    const ContractionChoice& choice = all[i].choice;
    if (kinds[{choice.panel > 0, choice.chunk.size > 0, choice.order}]++ < kOfAKind) {
      result.push_back(i);
    }
  }
  return result;
}

std::string to_string(const ContractionChoice& choice) {
  const RegisterTile& tile = choice.tile;
  return (tile.lines > 1 ? fmt::format("{} x ", tile.lines) : "") +
         fmt::format("{} x {}, {}", tile.rows, tile.vectors,
                     choice.panel > 0 ? fmt::format("panels of {}", choice.panel)
                     : choice.copied  ? "copied"
                                      : "in place") +
         (choice.chunk.size > 0 ? fmt::format(", k{} in {}", choice.chunk.axis, choice.chunk.size)
                                : "") +
         (choice.order == TileOrder::rows_outer ? ", rows outer" : "");
}

}  // namespace gradus::codegen
