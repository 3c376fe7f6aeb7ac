#include "codegen/target.h"

#include <llvm/ADT/StringMap.h>
#include <llvm/TargetParser/Host.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace gradus::codegen {
namespace {

constexpr std::string_view kNames[] = {"native", "x86-64", "x86-64-v3", "x86-64-v4", "aarch64"};

// What distinguishes the levels of the x86-64 psABI, as far as kernels use it.
constexpr std::array kLevel3 = {"avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe"};
constexpr std::array kLevel4 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"};

using Features = llvm::StringMap<bool>;

template <typename Names>
bool has_all(const Features& features, const Names& names) {
  return std::ranges::all_of(names, [&](const char* name) { return features.lookup(name); });
}

Target native_target() {
  const Features features = llvm::sys::getHostCPUFeatures();
  Target target{
      .set = InstructionSet::native, .cpu = llvm::sys::getHostCPUName().str(), .features = ""};
  std::vector<std::string> listed;
  for (const auto& feature : features) {
    listed.push_back((feature.second ? "+" : "-") + feature.first().str());
  }
  std::ranges::sort(listed);  // the map's order is not deterministic
  for (const std::string& feature : listed) {
    target.features += (target.features.empty() ? "" : ",") + feature;
  }
  target.avx512 = has_all(features, kLevel3) && has_all(features, kLevel4);
  target.vector_bits = target.avx512 ? 512 : has_all(features, kLevel3) ? 256 : 128;
  target.fma = features.lookup("fma");
  return target;
}

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

}  // namespace

std::string_view to_string(InstructionSet set) { return kNames[static_cast<std::size_t>(set)]; }

std::optional<InstructionSet> parse_instruction_set(std::string_view name) {
  for (InstructionSet set : kInstructionSets) {
    if (to_string(set) == name) return set;
  }
  return std::nullopt;
}

Target make_target(InstructionSet set) {
  switch (set) {
    case InstructionSet::native:
      return native_target();
    case InstructionSet::x86_64:
      break;
    case InstructionSet::x86_64_v3:
      return {.set = set, .cpu = "x86-64-v3", .features = "", .vector_bits = 256, .fma = true};
    case InstructionSet::x86_64_v4:
      return {.set = set,
              .cpu = "x86-64-v4",
              .features = "",
              .vector_bits = 512,
              .fma = true,
              .avx512 = true};
    case InstructionSet::aarch64:
      return {.set = set, .cpu = "generic", .features = "+neon", .fma = true};
  }
  return {.set = InstructionSet::x86_64, .cpu = "x86-64", .features = ""};
}

bool host_supports(InstructionSet set) {
  if (set == InstructionSet::aarch64) return false;
  if (set == InstructionSet::native || set == InstructionSet::x86_64) return true;
  const Features features = llvm::sys::getHostCPUFeatures();
  return has_all(features, kLevel3) &&
         (set == InstructionSet::x86_64_v3 || has_all(features, kLevel4));
}

InstructionSet greatest_supported() {
  for (InstructionSet set : {InstructionSet::x86_64_v4, InstructionSet::x86_64_v3}) {
    if (host_supports(set)) return set;
  }
  return InstructionSet::x86_64;
}

RegisterTile choose_register_tile(const ContractionBox& box, ElementType type,
                                  const Target& target) {
  const std::int64_t width = target.width(type);
  const std::int64_t registers = target.vector_registers();
  const std::int64_t most_vectors = std::clamp<std::int64_t>(ceil_div(box.n, width), 1, 8);
  const std::int64_t m = std::max<std::int64_t>(box.m, 1);
  RegisterTile best;
  double least = 0;
  const auto consider = [&](RegisterTile tile, double cycles) {
    if (least > 0 && cycles >= least * 0.995) return;
    best = tile;
    least = cycles;
  };
  // Two vectors first: among equals it needs the fewest loads per row of rhs and short panels.
  for (std::int32_t vectors : {2, 1, 3, 4, 6, 8}) {
    if (vectors > most_vectors || box.column_unit % (vectors * width) != 0) continue;
    const std::int64_t most_rows = (registers - 1 - vectors) / vectors;
    for (std::int64_t rows = 1; rows <= std::min(most_rows, m); ++rows) {
      const double lines = static_cast<double>(box.lines);
      consider({static_cast<std::int32_t>(rows), vectors, 1},
               lines * box_cycles(m, box.n, rows, 1, vectors, width) +
                   code_cycles(m, box.n, rows, vectors, width, box.k));
    }
    for (std::int64_t lines = 2; lines <= std::min(most_rows / m, box.lines); ++lines) {
      consider({static_cast<std::int32_t>(m), vectors, static_cast<std::int32_t>(lines)},
               box_cycles(box.lines, box.n, lines, m, vectors, width) +
                   code_cycles(box.lines, box.n, lines * m, vectors, width, box.k));
    }
  }
  GRADUS_CHECK(least > 0, "no register tile");
  return best;
}

std::int64_t choose_panel(std::int64_t k, std::int64_t n, ElementType type,
                          const RegisterTile& tile, const Target& target) {
  constexpr std::int64_t kConflictingBytes = 1024;  // rows this far apart share cache sets
  constexpr std::int64_t kLargeBytes = 1024 * 1024;
  const std::int64_t row_bytes = n * byte_size(type);
  const bool conflicts = row_bytes % kConflictingBytes == 0;
  if (!conflicts || k * row_bytes <= kLargeBytes) return 0;
  return tile.vectors * target.width(type);
}

}  // namespace gradus::codegen
