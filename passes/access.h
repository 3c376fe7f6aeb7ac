#pragma once

// How nodes read their operands: which values can be computed inside a loop of their consumer, and
// at which index. Fusion and scheduling ask the same questions here.

#include <cstdint>
#include <optional>
#include <vector>

#include "ir/graph.h"
#include "ir/index_map.h"
#include "ir/order.h"

namespace gradus::passes {

/// What a node is to a loop over its consumer.
enum class Access : std::uint8_t {
  leaf,   // in memory: an input, a constant of rank > 0, or a result of a scan
  alias,  // a view whose operand must be in memory; costs nothing
  light,  // computable at any index from its operands: elementwise, movement, gather, scalar
          // constant
  heavy,  // needs a stage of its own: tile op, reduction, block sum, combine, contraction,
          // scatter_add, cumulative sum
};
[[nodiscard]] Access access_of(const ir::Graph& graph, ir::NodeId id);

[[nodiscard]] bool is_contraction(const ir::Node& node);
[[nodiscard]] bool is_contraction(const ir::Graph& graph, ir::NodeId id);
/// A contraction with its parts added up.
[[nodiscard]] bool is_dot(const ir::Graph& graph, ir::NodeId id);
[[nodiscard]] bool is_tile_op(const ir::Graph& graph, ir::NodeId id);
[[nodiscard]] bool is_gather(const ir::Graph& graph, ir::NodeId id);
/// A root whose points add to what earlier points of its own loop have written.
[[nodiscard]] bool runs_in_order(const ir::Graph& graph, ir::NodeId id);
/// The operand is in memory, complete, before the node's kernel begins: what is indexed, and
/// indices.
[[nodiscard]] bool reads_whole(const ir::Graph& graph, ir::NodeId id, std::size_t operand);

/// For each operand of a light node, its index as a function of the node's index. (For movement
/// the map of the first operand that is inside counts, see ir/op.h.)
[[nodiscard]] std::vector<ir::IndexMap> operand_maps(const ir::Graph& graph, ir::NodeId id);

/// The iteration axes of a root: where its loop runs. Result axis a runs along iteration axis
/// `result_slot[a]`; for a block sum or the parts of a contraction, result axis 0 is the block
/// number of `block_slot` (slot -1). A light root iterates over its result; a reduction over its
/// operand; a contraction over batch, lhs free, rhs free and contracted axes; a tile op over its
/// tiles: result axes inside of a tile have kTileSlot.
inline constexpr int kTileSlot = -2;  // of a result axis; a Read has other codes (roots.h)
/// The axis along which a root runs in order: its loop's points are none of one position.
inline constexpr int kOrderedSlot = -3;
struct Iteration {
  Shape extents;
  std::vector<int> result_slot;
  int block_slot = -1;
  /// Per operand of a heavy node: the iteration axis of each operand axis, -1 inside of a tile.
  std::vector<std::vector<int>> operand_slots;
  friend bool operator==(const Iteration&, const Iteration&) = default;
};
[[nodiscard]] Iteration iteration_of(const ir::Graph& graph, ir::NodeId id);

/// The axes that a reduction, block sum or combine reduces, ascending.
[[nodiscard]] ir::Integers reduced_axes(const ir::Graph& graph, ir::NodeId id);

/// The cut of a root with a block slot.
[[nodiscard]] ir::Cut block_cut(const ir::Graph& graph, ir::NodeId id);

/// How many iteration axes of a contraction play which part: batch, rows, then those of rhs's free
/// axes, then contracted.
struct ContractionCounts {
  std::size_t batch = 0;
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t contracted = 0;
};
[[nodiscard]] ContractionCounts contraction_counts(const ir::Graph& graph, ir::NodeId id);

/// Scalar instructions per element of a light node, its own program only, math functions included.
[[nodiscard]] std::int64_t program_cost(const ir::Graph& graph, ir::NodeId id);

/// The same for the nodes of one graph, each found once.
class ProgramCosts {
 public:
  explicit ProgramCosts(const ir::Graph& graph) : graph_(graph), known_(graph.size()) {}
  [[nodiscard]] std::int64_t of(ir::NodeId id);

 private:
  const ir::Graph& graph_;
  std::vector<std::optional<std::int64_t>> known_;
};

/// Where a reshape reads its operand, as long as every operand axis becomes whole result axes (it
/// splits axes, and adds or removes axes of extent 1); empty when it merges axes.
[[nodiscard]] std::optional<ir::IndexMap> split_map(const Shape& operand, const Shape& result);

[[nodiscard]] std::vector<TensorType> operand_types(const ir::Graph& graph, ir::NodeId id);

}  // namespace gradus::passes
